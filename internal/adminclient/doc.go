// Package adminclient calls the admin API of a running keytail, and verify of its
// public listener, for the commands of package cli.
//
// It sends a write once. If the response is lost, the client does not know
// whether the write took effect, and the error is an UnknownError: a person
// should look before trying again. It does not repeat reads either. Only Follow
// reconnects.
//
// Errors describe what to do, with keytail's flags and commands, and contain
// neither the token nor a key.
package adminclient
