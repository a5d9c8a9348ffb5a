// Package httpclient is what all HTTP clients of a keytail daemon have in common:
// the address and the token, one request and its response, problems as errors,
// and the stream of events.
//
// It sends each request once and follows no redirect. Errors describe what to
// do, name no flag (package client is for programs that have none), and contain
// neither the token nor a key.
package httpclient
