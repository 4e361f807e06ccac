"""Google's JavaScript client judges the test server, by hand: it wants Node.js and npm."""
