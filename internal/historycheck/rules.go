package historycheck

// Rule is a promise that an answer can break.
type Rule string

// The rules.
const (
	// BoundedStaleness: no answer ignores a write that was acknowledged with majority more
	// than max_stale before the answer was made; nor does one report that it is older.
	BoundedStaleness Rule = "bounded staleness"
	// ReportedStaleness: an answer is a state of the key within as_of and the answer.
	ReportedStaleness Rule = "reported staleness"
	// ExactExpiry: VALID ends at the key's expiry, and EXPIRED begins with it, regardless of
	// any staleness.
	ExactExpiry Rule = "exact expiry"
	// UnknownKey: a key that no write has created is NOT_FOUND.
	UnknownKey Rule = "unknown key"
	// FleetAcknowledged and InstanceAcknowledged: after "synced", no answer of the fleet, or
	// of the instance, ignores what it covers.
	FleetAcknowledged    Rule = "write acknowledgement of the fleet"
	InstanceAcknowledged Rule = "write acknowledgement of an instance"
	// RequiredRevision: an answer takes into account what its request required.
	RequiredRevision Rule = "required revision"
	// ReportedRevision: an answer takes into account all changes up to its revision.
	ReportedRevision Rule = "reported revision"
	// OutageIsNoRefusal: who knows that it has nothing to answer from does not say NOT_FOUND.
	OutageIsNoRefusal Rule = "an outage is not a refusal"
)

// Rules are all rules, in the order of a report.
var Rules = []Rule{
	BoundedStaleness, ReportedStaleness, ExactExpiry, UnknownKey, FleetAcknowledged, InstanceAcknowledged,
	RequiredRevision, ReportedRevision, OutageIsNoRefusal,
}
