// Package preload loads all keys into the cache, so that it becomes a complete
// cache, and audits it: it scans the whole collection when the change stream
// has been opened, and again at intervals to compare the cache with the
// database.
//
// A scan is one long fill (see keycache/DESIGN.md). This package decides when
// to scan, into which generation, and what to do if a scan fails. It has no
// state of the cache. DESIGN.md lists the reasons for a scan and their pace.
//
// preload.go has the Loader; cause.go lists why scans are made, and drops.go has
// one of the reasons; plan.go decides about the next scan; pace.go limits how
// often; spread.go keeps the instances of a fleet apart; scan.go makes a scan and
// the audit; progress.go says how far it is.
package preload
