package api

// Readiness is the body of PathReady, with status 200 and with status 503.
// docs/http.md describes the states.
type Readiness struct {
	State string `json:"state"`
	// StalenessMS and LagMS are null until they are known. LagMS is how long the
	// last change took to arrive.
	StalenessMS *int64 `json:"staleness_ms"`
	Epoch       uint64 `json:"epoch"`
	// Complete is true if the cache holds every key of the collection.
	Complete bool   `json:"complete"`
	Entries  int    `json:"entries"`
	LagMS    *int64 `json:"lag_ms"`
	// LastLoss is null if history was never lost.
	LastLoss *Loss  `json:"last_loss"`
	Note     string `json:"note,omitempty"`
	// IndexMissing is present while the hash has no unique index. A strict
	// readiness check fails then, even if the state is live.
	IndexMissing string `json:"index_missing,omitempty"`
	// Scan is present while a scan of the collection runs that takes longer than a
	// second.
	Scan  *Scan  `json:"scan,omitempty"`
	Usage *Usage `json:"usage,omitempty"`
}

// Scan reports how far a scan of the collection is.
type Scan struct {
	KeysRead int64 `json:"keys_read"`
	// KeysExpected is about how many keys there are, or null.
	KeysExpected  *int64 `json:"keys_expected"`
	KeysPerSecond int64  `json:"keys_per_second"`
	// LeftMS is about how long the scan will still take, or null.
	LeftMS *int64 `json:"left_ms"`
}

// Loss is a loss of the change stream's history.
type Loss struct {
	At     Timestamp `json:"at"`
	Reason string    `json:"reason"`
}

// Usage reports how far the writing of last_used and usage_count is.
type Usage struct {
	PendingKeys int64 `json:"pending_keys"`
	BatchSize   int   `json:"batch_size"`
	// FailingMS is for how many milliseconds the writes have failed; null if they
	// do not fail.
	FailingMS *int64 `json:"failing_ms"`
}

// LogLevel is the body of PathLogLevel: debug, info, warn or error.
type LogLevel struct {
	Level string `json:"level"`
}

// Status is the body of PathStatus: Readiness, the instance that reports it, and the
// details. No part of it is read from the database, so it is complete in an outage.
type Status struct {
	Instance string `json:"instance"`
	Version  string `json:"version"`
	Readiness
	StatusDetails
}
