// Package serverspan begins the spans of requests that the daemon's listeners receive,
// over HTTP and gRPC.
//
// It does less than OpenTelemetry's own otelhttp and otelgrpc, on purpose. Those record the
// path, the user agent and the client's address, and a key may stand in any of them. They
// also decide for each listener whether its callers are trusted; here that depends on the
// caller (Request.Trusted).
package serverspan
