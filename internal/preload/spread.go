package preload

import "time"

const (
	// scansAtOnce is how many scans a primary serves at once without making each of them much slower. An
	// instance takes more time to store keys than the primary takes to send them, so eight scans use a
	// few cores of it.
	scansAtOnce = 8
	// longestSpread limits the delay for a large fleet with a large collection: in this time all keys
	// that are in use have been read on demand, while each unknown key costs a read. It is enough for a
	// thousand instances with a million keys. With a third of it, nine hundred of them scan at once, and
	// none is complete before nearly all are.
	longestSpread = 15 * time.Minute
	// longestAuditInterval limits how rare audits become by the size of the fleet: an audit is what finds
	// a defect of the stream, so a fleet that is larger than it can be, or looks so, must not end it.
	longestAuditInterval = 7 * 24 * time.Hour
)

// spread is the delay of a scan that all instances of a fleet request at the same moment, if one scan
// takes this long: random, which is from 0 to 1, times a window that is long enough for the primary to serve
// scansAtOnce of them at a time. It is zero for a single instance, and for one that has not scanned yet, which
// is not ready until it has.
func spread(instances int, scan time.Duration, random float64) time.Duration {
	window := min(longestSpread, time.Duration(max(0, instances-1))*scan/scansAtOnce)
	return time.Duration(random * float64(window))
}

// auditInterval is the time between two audits: the configured one, and longer where the audits of all
// instances, one after the other, would take longer than that, up to a week.
func auditInterval(configured time.Duration, instances int, scan time.Duration) time.Duration {
	return max(configured, min(time.Duration(instances)*scan, longestAuditInterval))
}
