// Package telemetry is OpenTelemetry's SDK in the daemon: it is configured by the standard
// OTEL_ variables, exports spans behind a bounded queue, and makes spans of the commands
// that the MongoDB client sends.
//
// Only package cli imports it: a program that embeds keytail has an SDK of its own.
package telemetry
