package api

// StatusDetails is what PathStatus shows beyond Readiness: why the instance is in its
// state, and its recent past. Absent fields are not known, or there is nothing to report.
type StatusDetails struct {
	// Since is when the state began, OutageSince when the instance became stale or down.
	Since       *Timestamp `json:"since,omitempty"`
	OutageSince *Timestamp `json:"outage_since,omitempty"`
	// LastOutage is the last one that is over. Absent: there was none since the start.
	LastOutage *Outage `json:"last_outage,omitempty"`
	// Effect is what callers notice of the state, in words.
	Effect string `json:"effect,omitempty"`
	// Cause is why the instance is not live.
	Cause      *StateCause `json:"cause,omitempty"`
	MaxStaleMS int64       `json:"max_stale_ms,omitempty"`
	// Members are the MongoDB servers as the driver sees them.
	Members []Member `json:"members,omitempty"`
	// StalenessHistory has a point each second of the last ten minutes.
	StalenessHistory []StalenessPoint `json:"staleness_history,omitempty"`
	// Hour are the verdicts and the delays of the last hour.
	Hour *LastHour `json:"last_hour,omitempty"`
	// Losses are the losses of history since the start, by reason.
	Losses []LossCount `json:"losses,omitempty"`
	// Defects is what the last scan of the collection found.
	Defects *Defects `json:"defects,omitempty"`
	Memory  *Memory  `json:"memory,omitempty"`
	// Settings is the configuration, without secrets.
	Settings []Setting `json:"settings,omitempty"`
}

// Outage is a time in which an instance was stale or down, and which is over.
type Outage struct {
	EndedAt Timestamp `json:"ended_at"`
	// TookMS is its length, DownMS how long of it the instance was down.
	TookMS int64 `json:"took_ms"`
	DownMS int64 `json:"down_ms"`
}

// StateCause is why an instance is not live. Its texts are for people.
type StateCause struct {
	What string `json:"what"`
	// FailingSince is when it began to fail.
	FailingSince *Timestamp `json:"failing_since,omitempty"`
	// Error is the last error, ReadError that of the last linearizable read.
	Error     string `json:"error,omitempty"`
	ReadError string `json:"read_error,omitempty"`
	// Advice is what an operator can do, Next what keytail does by itself.
	Advice string `json:"advice,omitempty"`
	Next   string `json:"next,omitempty"`
}

// Member is a MongoDB server.
type Member struct {
	Address string `json:"address"`
	// Role is primary, secondary, arbiter, mongos, standalone, other or unknown.
	Role string `json:"role"`
	// LastSeen is when it last answered the driver's monitor.
	LastSeen *Timestamp `json:"last_seen,omitempty"`
	// Error is why the last check of the monitor failed, and FailedAt when.
	Error    string     `json:"error,omitempty"`
	FailedAt *Timestamp `json:"failed_at,omitempty"`
}

// StalenessPoint is the staleness at a time; null if it was not known.
type StalenessPoint struct {
	At          Timestamp `json:"at"`
	StalenessMS *int64    `json:"staleness_ms"`
}

// LastHour is what happened in the last hour. Counters that are older than the first
// reading of the metrics are not in it.
type LastHour struct {
	// FirstMinute is when the first of the 60 minutes began.
	FirstMinute Timestamp `json:"first_minute"`
	// Verdicts are by code, the most frequent first.
	Verdicts []VerdictCount `json:"verdicts"`
	// Delays counts the changes of keys by how late they were applied, by rising bound.
	Delays []DelayBucket `json:"change_delays"`
}

// VerdictCount counts the verdicts with one code.
type VerdictCount struct {
	Code  string `json:"code"`
	Total uint64 `json:"total"`
	// PerMinute has 60 numbers, the oldest first.
	PerMinute []uint64 `json:"per_minute"`
}

// DelayBucket counts delays up to a bound, and above that of the bucket before.
type DelayBucket struct {
	// UpToSeconds is null in the last bucket, which has no bound.
	UpToSeconds *float64 `json:"up_to_seconds"`
	Count       uint64   `json:"count"`
}

// LossCount counts the losses of history for one reason.
type LossCount struct {
	Reason string `json:"reason"`
	Total  uint64 `json:"total"`
}

// Defects is what a complete scan of the collection found.
type Defects struct {
	// At is when the scan ended, Read how many documents it read.
	At   Timestamp `json:"at"`
	Read int       `json:"read"`
	// Disabled documents cannot be read as keys. No key matches those WithoutHash.
	Disabled    int `json:"disabled"`
	WithoutHash int `json:"without_hash"`
	// Reasons are the most frequent ones, and KeyIDs those of some documents.
	Reasons []DefectCount `json:"reasons"`
	KeyIDs  []string      `json:"key_ids"`
}

// DefectCount counts the documents with one defect.
type DefectCount struct {
	Defect string `json:"defect"`
	Count  int    `json:"count"`
}

// Memory is what the process uses.
type Memory struct {
	// HeapBytes are in use, TotalBytes are mapped by the Go runtime. LimitBytes is
	// GOMEMLIMIT; absent: there is none.
	HeapBytes  uint64 `json:"heap_bytes"`
	TotalBytes uint64 `json:"total_bytes"`
	LimitBytes int64  `json:"limit_bytes,omitempty"`
	// CacheBytes are allocated by the cache.
	CacheBytes int    `json:"cache_bytes"`
	Goroutines uint64 `json:"goroutines"`
}

// Setting is one setting of the configuration.
type Setting struct {
	// Name is that of the flag. Value is empty if it is; "set" if it may be secret.
	Name  string `json:"name"`
	Value string `json:"value"`
	// Given: the command line, the environment or the file sets it.
	Given bool `json:"given"`
}
