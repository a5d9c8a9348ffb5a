package api

// Explanation is the body of a request to explain a key: what the instance would
// answer to a request with it, and why. Its fields up to Revision have the names and
// meanings of a Verdict's.
type Explanation struct {
	KeyID string `json:"key_id"`
	// Instance is the id of the instance that would answer so.
	Instance string `json:"instance"`
	Valid    bool   `json:"valid"`
	Code     string `json:"code"`
	Reason   string `json:"reason,omitempty"`
	// Source is "cache" if the instance had a valid entry, else how it read the
	// database. Empty: it needed no data, or could get none.
	Source      string     `json:"source,omitempty"`
	AsOf        *Timestamp `json:"as_of,omitempty"`
	StalenessMS *int64     `json:"staleness_ms,omitempty"`
	Revision    string     `json:"revision,omitempty"`
	// Database is what the document in the database gives now.
	Database StoredVerdict `json:"database"`
}

// StoredVerdict is the verdict of a document as the database had it at AsOf. AsOf is
// nil if no request can find the document, and if the database gives no answer that
// is certain (UNAVAILABLE).
type StoredVerdict struct {
	Valid  bool       `json:"valid"`
	Code   string     `json:"code"`
	Reason string     `json:"reason,omitempty"`
	AsOf   *Timestamp `json:"as_of,omitempty"`
}
