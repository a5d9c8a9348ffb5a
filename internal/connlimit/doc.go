// Package connlimit bounds the connections of each listener, so that the clients of one
// cannot use up the file descriptors that the others, and MongoDB, need.
//
// At the limit, the connection that has been idle longest makes room for a new one. If
// none is idle, the new one waits until one is. A request in progress is never
// interrupted.
package connlimit
