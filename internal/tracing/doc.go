// Package tracing makes the core's work part of the trace that a request belongs to
// (OpenTelemetry), in the daemon and in a program that embeds keytail.
//
// It depends on OpenTelemetry's API and not on its SDK, and nothing is configured: the
// span in a context has the tracer provider for the spans below it. Without a span that
// is recorded, each function returns at once and allocates nothing.
//
// No name, attribute or event has a part of a request in it, so that no span can
// contain a key. For the same reason the text of an error is never recorded: a server
// quotes values, such as the hash of a key, in some of them.
package tracing
