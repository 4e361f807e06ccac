// What the JavaScript client reads over REST (its transport where it has no web socket) of a server of ours.
// node check.cjs HOST:PORT
class Request {
  open(method, url) {
    this.url = url;
  }
  send() {
    fetch(this.url, { headers: { Authorization: "Bearer owner" } }).then(async (response) => {
      this.status = response.status;
      this.responseText = await response.text();
      this.readyState = 4;
      this.onreadystatechange();
    });
  }
}
globalThis.XMLHttpRequest = Request;
globalThis.window = globalThis;
const assert = require("node:assert");
const { initializeApp } = require("@firebase/app");
const d = require("@firebase/database");
const [host, port] = process.argv[2].split(":");
d._TEST_ACCESS_forceRestClient(true);
const db = d.getDatabase(initializeApp({ databaseURL: `http://${host}:${port}?ns=demo` }));
d.connectDatabaseEmulator(db, host, Number(port));
const jobs = { a: { n: 3, s: "x" }, b: { n: 1, s: "y" }, c: { n: 2, s: "x" } };
const put = (path, value) =>
  fetch(`http://${host}:${port}/${path}.json?ns=demo&access_token=owner`, {
    method: "PUT",
    body: JSON.stringify(value),
  });
const keys = async (...constraints) => {
  const found = [];
  const snapshot = await d.get(d.query(d.ref(db, "jobs"), ...constraints));
  snapshot.forEach((each) => {
    found.push(each.key);
  });
  return found.join("");
};
(async () => {
  await put("jobs", jobs);
  await put("list", ["p", null, "q"]);
  await put(".settings/rules", {
    rules: { ".read": true, ".write": true, jobs: { ".indexOn": ["n", "s"] } },
  });
  assert.deepEqual((await d.get(d.ref(db, "jobs"))).val(), jobs);
  assert.deepEqual(Object.entries((await d.get(d.ref(db, "list"))).val()), [["0", "p"], ["2", "q"]]);
  assert.equal((await d.get(d.ref(db, "nothing"))).exists(), false);
  assert.equal(await keys(d.orderByChild("n")), "bca");
  assert.equal(await keys(d.orderByChild("n"), d.limitToFirst(2)), "bc");
  assert.equal(await keys(d.orderByChild("n"), d.limitToLast(1)), "a");
  assert.equal(await keys(d.orderByChild("s"), d.equalTo("x")), "ac");
  assert.equal(await keys(d.orderByChild("n"), d.startAt(2)), "ca");
  assert.equal(await keys(d.orderByChild("n"), d.startAfter(2)), "a");
  assert.equal(await keys(d.orderByChild("n"), d.endBefore(2)), "b");
  assert.equal(await keys(d.orderByKey(), d.startAt("b"), d.endAt("b")), "b");
  console.log("the JavaScript client agrees");
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
