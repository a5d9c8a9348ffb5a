// Package daemon is keytail as its own process: the handlers of the public, the
// operations and the admin listener, and the gRPC server for Envoy, over the
// core in package service. It opens no listener and reads no flag: package cli
// does.
//
// Only package cli and tests import it, so that a program that embeds keytail links
// none of this.
package daemon
