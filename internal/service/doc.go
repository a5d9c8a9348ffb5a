// Package service is the core of keytail: it creates the packages that validate
// keys from memory, connects them and runs them. It has no listener. The root
// package keytail offers it to Go programs; package daemon puts HTTP and gRPC in
// front of it.
//
// Wire has the order of start, Run the order of stop.
package service
