package preload

import "time"

// ScanDelay is for the simulation of a fleet (bench): how long a scan is delayed that all
// instances request at the same moment. random is from 0 to 1; scan is how long one scan takes.
func ScanDelay(instances int, scan time.Duration, random float64) time.Duration {
	return spread(instances, scan, random)
}

// AuditInterval is for the simulation of a fleet (bench): the time between two audits of an
// instance, for the configured one.
func AuditInterval(configured time.Duration, instances int, scan time.Duration) time.Duration {
	return auditInterval(configured, instances, scan)
}
