// Package preload makes the cache complete, and keeps it honest: it scans the
// whole collection when the stream has opened, and again every now and then to
// compare what is held with the database.
//
// A scan is one long fill (package keycache has the argument). This room decides
// when, and where to, and what to do when a scan fails; it owns no state of the
// cache.
package preload
