package history

import "time"

// Format and Version are what a Header says of the file.
const (
	Format  = "keytail-history"
	Version = 1
)

// Codes of answers, and states that a write leads to. They are keytail's codes, and
// Refused.
const (
	Valid                   = "VALID"
	NotFound                = "NOT_FOUND"
	Disabled                = "DISABLED"
	Expired                 = "EXPIRED"
	Forbidden               = "FORBIDDEN"
	InsufficientPermissions = "INSUFFICIENT_PERMISSIONS"
	// Unavailable as a state: nothing can be known about the key, as after a drop of its
	// collection.
	Unavailable = "UNAVAILABLE"
	// Missing, Malformed and Refused are answers, but no states of a key.
	Missing   = "MISSING"
	Malformed = "MALFORMED"
	// Refused is the answer of a validator that does not say why it refuses a key.
	Refused = "REFUSED"
	// AnyState is the only element of Initial.States or Header.Initial if nothing is
	// known about a key before its first write.
	AnyState = "*"
)

// Outcomes of a write.
const (
	OK      = "ok"
	Failed  = "failed"
	Unknown = "unknown"
)

// Majority is the write concern that bounds staleness, and the default.
const Majority = "majority"

// Scopes of an acknowledgement.
const (
	Fleet    = "fleet"
	Instance = "instance"
)

// Whether all answers are answers to the same request.
const (
	Same = "same"
	Vary = "vary"
)

// Record is one line: *Header, *Write, *Answer, *Acknowledgement, *Fault, *Outage,
// *Initial or *Clock.
type Record interface{ record() string }

// Header is the first line.
type Header struct {
	// MaxStaleMS is the bound that the validator promised, in milliseconds. Zero: none
	// was promised, and what depends on it is not judged.
	MaxStaleMS float64 `json:"max_stale_ms"`
	// ClockUncertaintyMS is the largest difference between two clocks whose times are in
	// the history. Zero: all times are from one clock.
	ClockUncertaintyMS float64 `json:"clock_uncertainty_ms"`
	// ResolutionMS is how coarse as_of and staleness_ms are. Nil: 1, as keytail's HTTP API.
	ResolutionMS *float64 `json:"resolution_ms,omitempty"`
	// Fenced: the writes of a key take effect in the order of Sent (and, where it is equal, of
	// their lines) or never. False: those that overlap may take effect in any order, and one of
	// unknown outcome at any time.
	Fenced bool `json:"fenced,omitempty"`
	// Requests is Same or Vary. Vary: a key that is VALID may be answered FORBIDDEN or
	// INSUFFICIENT_PERMISSIONS, because requests need different things. Empty: Same.
	Requests string `json:"requests,omitempty"`
	// Initial are the states in which a key can be before its first write. Nil: NOT_FOUND.
	Initial []string `json:"initial,omitempty"`
	// Description, Topology and Clock are for people: what was run, on which servers, and
	// whose clock the times are from.
	Description string `json:"description,omitempty"`
	Topology    string `json:"topology,omitempty"`
	Clock       string `json:"clock,omitempty"`
	// Recorded is when the recording began. Zero: not given.
	Recorded time.Time `json:"recorded,omitzero"`
}

// Write is one attempt to give a key a state.
type Write struct {
	// Key is a name or a hash of the key, never its text.
	Key string `json:"key"`
	// State is the code of a request with the key once the write has taken effect.
	State string `json:"state"`
	// Sent is a time before the write was sent, Acknowledged one after it was acknowledged:
	// zero unless Outcome is OK.
	Sent         time.Time `json:"sent"`
	Acknowledged time.Time `json:"acknowledged,omitzero"`
	// Outcome is OK, Failed (it certainly had no effect) or Unknown.
	Outcome string `json:"outcome"`
	// Concern is the write concern. Empty: Majority. Every other one bounds nothing.
	Concern string `json:"w,omitempty"`
	// Revision is the cluster time of the write, as 16 hexadecimal digits. Empty: not known.
	Revision string `json:"revision,omitempty"`
	// Expires is when the state becomes EXPIRED without another write. Zero: never.
	Expires time.Time `json:"expires,omitzero"`
}

// Answer is one answer about a key.
type Answer struct {
	Key  string `json:"key"`
	Code string `json:"code"`
	// Asked is a time before the request was sent, Given one after the answer arrived.
	Asked time.Time `json:"asked"`
	Given time.Time `json:"given"`
	// AsOf and StalenessMS are what the answer reports about its data. Zero and nil: nothing.
	AsOf        time.Time `json:"as_of,omitzero"`
	StalenessMS *float64  `json:"staleness_ms,omitempty"`
	// Revision is what the answer reports: it takes all changes up to it into account.
	Revision string `json:"revision,omitempty"`
	// MinRevision is what the request required.
	MinRevision string `json:"min_revision,omitempty"`
	// Instance is who answered. Empty: not known.
	Instance string `json:"instance,omitempty"`
	// Source is where the data came from, such as "cache". For people.
	Source string `json:"source,omitempty"`
}

// Acknowledgement is one report that instances have applied writes ("synced": true).
type Acknowledgement struct {
	// Scope is Fleet, or Instance: then Instance is set.
	Scope    string `json:"scope"`
	Instance string `json:"instance,omitempty"`
	// At is a time after the report arrived.
	At time.Time `json:"at"`
	// Revision: all writes up to it are applied. Covers: every write that was acknowledged
	// before that time is applied. At least one of them is set.
	Revision string    `json:"revision,omitempty"`
	Covers   time.Time `json:"covers,omitzero"`
}

// Fault is a span of time in which something was broken on purpose, or is known to have
// been. It excuses no answer.
type Fault struct {
	Name string    `json:"name"`
	From time.Time `json:"from"`
	// To is zero if the fault lasted until the end.
	To time.Time `json:"to,omitzero"`
	// Instance is the only one that it concerns. Empty: all.
	Instance string `json:"instance,omitempty"`
}

// Outage is a span of time in which an instance knew that it had nothing to answer from,
// such as no collection. NOT_FOUND in it is wrong: the instance cannot know that there is no such key.
type Outage struct {
	From time.Time `json:"from"`
	// To is zero if the outage lasted until the end.
	To time.Time `json:"to,omitzero"`
	// Instance is the only one that it concerns. Empty: all.
	Instance string `json:"instance,omitempty"`
}

// Initial are the states in which a key can be before its first write. For a key whose
// writes are not recorded these are the only ones, at any time.
type Initial struct {
	Key    string   `json:"key"`
	States []string `json:"states"`
}

// Clock is a measurement of a clock, or a note about one.
type Clock struct {
	At time.Time `json:"at"`
	// Machine is whose clock it is.
	Machine string `json:"machine,omitempty"`
	// OffsetMS is how far it was ahead of the others. Nil: not measured. The magnitude is at
	// most ClockUncertaintyMS.
	OffsetMS *float64 `json:"offset_ms,omitempty"`
	Text     string   `json:"text,omitempty"`
}

func (*Header) record() string          { return "header" }
func (*Write) record() string           { return "write" }
func (*Answer) record() string          { return "answer" }
func (*Acknowledgement) record() string { return "acknowledgement" }
func (*Fault) record() string           { return "fault" }
func (*Outage) record() string          { return "outage" }
func (*Initial) record() string         { return "initial" }
func (*Clock) record() string           { return "clock" }

// Milliseconds is a duration as the format has it.
func Milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// Duration is a number of milliseconds as a duration.
func Duration(ms float64) time.Duration { return time.Duration(roundToInt(ms * 1e6)) }
