-- wrk posts orders: wrk -s orders.lua URL -- KEY=VALUE ...
--   token        API key
--   connections  as given to wrk -c
--   seconds      for how long orders are sent; what is in flight then is still waited for
--   hot          1: the first line of every order is the same SKU
--   batch        orders per request; 1: POST /v1/orders
--   lines        lines per order, each of another SKU
--   skus         how many SKUs there are
--   keyed        1: every request has an Idempotency-Key of its own
--   rate         requests per second on a schedule of their own (open loop); 0: as fast as answered
-- Says "first" at the first request and "idle" when the last one is answered, then waits for
-- SIGINT and prints a line of JSON.

local ffi = require("ffi")
ffi.cdef [[
    typedef struct { long seconds; long nanoseconds; } timespec_t;
    int clock_gettime(int clock, timespec_t *time);
]]

local CUSTOMERS, REQUESTS = 100000, 10000
local NEVER_MS = 3600 * 1000
local time = ffi.new("timespec_t")
local option = {}
local requests = {}
local due, stop_at, parked = nil, nil, 0
local key, keys = nil, 0

local function now()
    ffi.C.clock_gettime(1, time)
    return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local function say(text)
    io.stdout:write(text, "\n")
    io.stdout:flush()
end

local function order()
    local lines, taken = {}, {}
    local sku = option.hot and 1 or math.random(option.skus)
    for number = 1, option.lines do
        taken[sku] = true
        lines[number] = string.format('{"sku":"SKU-%04d","quantity":1}', sku)
        while taken[sku] do sku = math.random(option.skus) end
    end
    return string.format('{"customer_id":"c-%d","lines":[%s]}',
        math.random(CUSTOMERS), table.concat(lines, ","))
end

local function request_of(batch)
    if batch == 1 then
        return wrk.format("POST", "/v1/orders", nil, order())
    end
    local orders = {}
    for number = 1, batch do orders[number] = order() end
    return wrk.format("POST", "/v1/order-batches", nil,
        '{"orders":[' .. table.concat(orders, ",") .. ']}')
end

function init(arguments)
    for _, argument in ipairs(arguments) do
        local name, value = argument:match("^(%w+)=(.*)$")
        option[name] = tonumber(value) or value
    end
    option.hot = option.hot == 1
    math.randomseed(os.time())
    key = string.format("%d-%06d", os.time(), math.random(999999))
    wrk.headers["Authorization"] = "Bearer " .. option.token
    wrk.headers["Content-Type"] = "application/json"
    -- Made beforehand: during the run the generator should cost next to nothing.
    for number = 1, math.ceil(REQUESTS / option.batch) do
        requests[number] = request_of(option.batch)
    end
end

-- wrk asks before every request how many milliseconds that connection is to wait.
function delay()
    local at = now()
    if not stop_at then
        due, stop_at = at, at + option.seconds
        say("first")
    end
    if at >= stop_at or due >= stop_at then
        parked = parked + 1
        if parked == option.connections then say("idle") end
        return NEVER_MS
    end
    if option.rate == 0 then return 0 end
    -- Arrivals as of many independent customers; a late one is sent at once, none is left out.
    due = due - math.log(1 - math.random()) / option.rate
    return math.max(0, (due - at) * 1000)
end

function request()
    local made = requests[math.random(#requests)]
    if option.keyed ~= 1 then return made end
    keys = keys + 1
    local line = made:find("\r\n", 1, true)
    return string.format("%s\r\nIdempotency-Key: %s-%012d%s",
        made:sub(1, line - 1), key, keys, made:sub(line))
end

function done(summary, latency, _)
    local errors = summary.errors
    say(string.format(
        '{"answered": %d, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
        summary.requests, errors.status, errors.connect + errors.read + errors.write,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
