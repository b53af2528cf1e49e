"""The web application: routes, rules for each request, the stream, and the server under them."""
