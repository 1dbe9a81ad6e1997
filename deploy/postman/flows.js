// What a client does, in order, each step with its tests. A test is a function whose source goes into
// the collection; `problem` and `json` are written above it. {{words}} are variables.
"use strict";

const WAIT = { Prefer: "wait=20" };
const order = (quantity, sku = "{{sku}}") => ({ customer_id: "c-postman", lines: [{ sku, quantity }] });

module.exports = [
  {
    name: "Ready", method: "GET", path: "/readyz",
    before() {
      pm.collectionVariables.set("sku", `POSTMAN-${pm.variables.replaceIn("{{$guid}}").slice(0, 8)}`);
      pm.collectionVariables.set("key", pm.variables.replaceIn("{{$guid}}"));
    },
    test() {
      pm.test("orders can be taken", () => {
        pm.response.to.have.status(200);
        pm.expect(json().checks).to.eql({ broker: true, database: true, not_draining: true });
      });
    },
  },
  {
    name: "A product", method: "PUT", path: "/v1/products/{{sku}}", headers: WAIT,
    body: { name: "Mug, 0.3 l", unit_price: 1250, currency: "EUR" },
    test() {
      pm.test("it starts with no stock", () => {
        pm.response.to.have.status(200);
        pm.expect(json()).to.include({ on_hand: 0, allocated: 0, available: 0, unit_price: 1250 });
      });
    },
  },
  {
    name: "Stock for it", method: "POST", path: "/v1/inventory/{{sku}}/adjustments", headers: WAIT,
    body: { delta: 5, reason: "received" },
    test() {
      pm.test("it is on hand", () => {
        pm.response.to.have.status(200);
        pm.expect(json()).to.include({ on_hand: 5, available: 5 });
      });
      pm.collectionVariables.set("commandId", pm.response.headers.get("Location").split("/").pop());
    },
  },
  {
    name: "Place an order", method: "POST", path: "/v1/orders",
    headers: { ...WAIT, "Idempotency-Key": "{{key}}" }, body: order(2),
    test() {
      pm.test("it is confirmed", () => {
        pm.response.to.have.status(201);
        pm.expect(json()).to.include({ status: "confirmed", total: 2500, currency: "EUR", version: 1 });
        pm.expect(pm.response.headers.get("Preference-Applied")).to.eql("wait=20");
        pm.expect(pm.response.headers.get("Location")).to.eql(`/v1/orders/${json().id}`);
        pm.expect(pm.response.headers.has("Idempotent-Replayed")).to.eql(false);
      });
      pm.collectionVariables.set("orderId", json().id);
    },
  },
  {
    name: "Get it", method: "GET", path: "/v1/orders/{{orderId}}",
    test() {
      pm.test("it is there, with its version", () => {
        pm.response.to.have.status(200);
        pm.expect(json().lines[0]).to.include({ quantity: 2, unit_price: 1250 });
        pm.expect(pm.response.headers.get("ETag")).to.eql('"1"');
      });
    },
  },
  {
    name: "Get it again", method: "GET", path: "/v1/orders/{{orderId}}",
    headers: { "If-None-Match": '"1"' },
    test() {
      pm.test("it has not changed", () => pm.response.to.have.status(304));
    },
  },
  {
    name: "Idempotency: the same key and body", method: "POST", path: "/v1/orders",
    headers: { ...WAIT, "Idempotency-Key": "{{key}}" }, body: order(2),
    test() {
      pm.test("it is the same order", () => {
        pm.response.to.have.status(201);
        pm.expect(json().id).to.eql(pm.collectionVariables.get("orderId"));
        pm.expect(pm.response.headers.get("Idempotent-Replayed")).to.eql("true");
      });
    },
  },
  {
    name: "Idempotency: the same key, another body", method: "POST", path: "/v1/orders",
    headers: { ...WAIT, "Idempotency-Key": "{{key}}" }, body: order(3),
    test() { problem(422, "idempotency-key-reused"); },
  },
  {
    name: "Stock: two are allocated", method: "GET", path: "/v1/inventory/{{sku}}",
    test() {
      pm.test("once", () => pm.expect(json()).to.include({ on_hand: 5, allocated: 2, available: 3 }));
    },
  },
  {
    name: "Out of stock", method: "POST", path: "/v1/orders", headers: WAIT, body: order(4),
    test() {
      problem(409, "insufficient-stock");
      pm.test("it says what there is", () => {
        pm.expect(json().lines).to.eql(
          [{ sku: pm.collectionVariables.get("sku"), requested: 4, available: 3 }]);
      });
    },
  },
  {
    name: "Unknown SKU", method: "POST", path: "/v1/orders", headers: WAIT,
    body: order(1, "{{sku}}-none"),
    test() { problem(409, "unknown-sku"); },
  },
  {
    name: "Quantity 0", method: "POST", path: "/v1/orders", headers: WAIT, body: order(0),
    test() { problem(422, "invalid-request", "/lines/0/quantity"); },
  },
  {
    name: "Negative quantity", method: "POST", path: "/v1/orders", headers: WAIT, body: order(-1),
    test() { problem(422, "invalid-request", "/lines/0/quantity"); },
  },
  {
    name: "Unknown member", method: "POST", path: "/v1/orders", headers: WAIT,
    body: { ...order(1), colour: "red" },
    test() { problem(422, "invalid-request", "/colour"); },
  },
  {
    name: "Not JSON", method: "POST", path: "/v1/orders", raw: '{"customer_id": "c-17", ',
    test() { problem(400, "not-json"); },
  },
  {
    name: "Stock: what was refused changed nothing", method: "GET", path: "/v1/inventory/{{sku}}",
    test() {
      pm.test("nothing", () => pm.expect(json()).to.include({ on_hand: 5, allocated: 2, available: 3 }));
    },
  },
  {
    name: "Ship it", method: "PATCH", path: "/v1/orders/{{orderId}}",
    headers: { ...WAIT, "If-Match": '"1"' }, body: { status: "shipped" },
    test() {
      pm.test("it is shipped", () => {
        pm.response.to.have.status(200);
        pm.expect(json()).to.include({ status: "shipped", version: 2 });
      });
    },
  },
  {
    name: "Cancel what is shipped", method: "PATCH", path: "/v1/orders/{{orderId}}",
    headers: WAIT, body: { status: "cancelled" },
    test() { problem(409, "illegal-transition"); },
  },
  {
    name: "A stale version", method: "PATCH", path: "/v1/orders/{{orderId}}",
    headers: { ...WAIT, "If-Match": '"1"' }, body: { status: "delivered" },
    test() { problem(412, "precondition-failed"); },
  },
  {
    name: "Its events", method: "GET", path: "/v1/orders/{{orderId}}/events",
    test() {
      pm.test("the oldest first", () => {
        pm.response.to.have.status(200);
        pm.expect(json().items.map((event) => event.type)).to.eql(["order.confirmed", "order.shipped"]);
        pm.expect(json().items.map((event) => event.sequence)).to.eql([1, 2]);
      });
    },
  },
  {
    name: "Stock: two are gone", method: "GET", path: "/v1/inventory/{{sku}}",
    test() {
      pm.test("off hand", () => pm.expect(json()).to.include({ on_hand: 3, allocated: 0, available: 3 }));
    },
  },
  {
    name: "Take a damaged one off hand", method: "POST", path: "/v1/inventory/{{sku}}/reductions",
    headers: WAIT, body: { quantity: 1, reason: "damaged" },
    test() {
      pm.test("two are left", () => pm.expect(json()).to.include({ on_hand: 2, available: 2 }));
    },
  },
  {
    name: "Take off more than there is", method: "POST", path: "/v1/inventory/{{sku}}/reductions",
    headers: WAIT, body: { quantity: 3, reason: "lost" },
    test() { problem(409, "insufficient-stock"); },
  },
  {
    name: "The ledger", method: "GET", path: "/v1/inventory/{{sku}}/movements",
    test() {
      pm.test("it adds up to the stock, the newest first", () => {
        const { items } = json();
        pm.expect(items.map((one) => one.reason)).to.eql(["damaged", "shipped", "placed", "received"]);
        const sum = (member) => items.reduce((total, one) => total + one[member], 0);
        pm.expect([sum("on_hand_delta"), sum("allocated_delta")]).to.eql([2, 0]);
      });
    },
  },
  {
    name: "Place without waiting", method: "POST", path: "/v1/orders", body: order(1),
    test() {
      pm.test("it is taken", () => {
        pm.response.to.have.status(202);
        pm.expect(json().status).to.eql("pending");
        pm.expect(json().links.self).to.eql(pm.response.headers.get("Location"));
      });
      pm.collectionVariables.set("takenId", json().id);
      pm.collectionVariables.set("looks", 0);
    },
  },
  {
    name: "Follow it", method: "GET", path: "/v1/orders/{{takenId}}",
    test() {
      const looks = Number(pm.collectionVariables.get("looks")) + 1;
      pm.collectionVariables.set("looks", looks);
      if (json().status === "pending" && looks < 200) {
        pm.execution.setNextRequest("Follow it");
      } else {
        pm.test("it is decided", () => pm.expect(json().status).to.eql("confirmed"));
      }
    },
  },
  {
    name: "Place a batch", method: "POST", path: "/v1/order-batches",
    body: { orders: [{ ...order(1), idempotency_key: "{{$guid}}" }, order(7)] },
    test() {
      pm.test("both are taken, in order", () => {
        pm.response.to.have.status(202);
        pm.expect(json().orders.map((one) => one.status)).to.eql(["pending", "pending"]);
      });
    },
  },
  {
    name: "A batch with a bad order", method: "POST", path: "/v1/order-batches",
    body: { orders: [order(1), order(0)] },
    test() { problem(422, "invalid-request", "/orders/1/lines/0/quantity"); },
  },
  {
    name: "What became of a change", method: "GET", path: "/v1/commands/{{commandId}}",
    test() {
      pm.test("it is applied", () => {
        pm.response.to.have.status(200);
        pm.expect(json()).to.include({ kind: "adjust_stock", status: "applied", problem: null });
      });
    },
  },
  {
    name: "An id that was never given out", method: "GET",
    path: "/v1/orders/00000000-0000-8000-8000-000000000000",
    test() { problem(404, "not-found"); },
  },
  {
    name: "Without a key", method: "GET", path: "/v1/orders", keyless: true,
    test() { problem(401, "unauthorized"); },
  },
];
