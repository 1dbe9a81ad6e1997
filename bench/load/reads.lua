-- wrk reads orders by id: wrk -s reads.lua URL -- TOKEN FILE, with one id a line.

local requests = {}

function init(arguments)
    wrk.headers["Authorization"] = "Bearer " .. arguments[1]
    math.randomseed(os.time())
    for id in io.lines(arguments[2]) do
        requests[#requests + 1] = wrk.format("GET", "/v1/orders/" .. id)
    end
end

function request()
    return requests[math.random(#requests)]
end

function done(summary, latency, _)
    local errors = summary.errors
    print(string.format(
        '{"answered": %d, "refused": %d, "broken": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f}',
        summary.requests, errors.status, errors.connect + errors.read + errors.write,
        summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
