//go:build unguarded

package guard

// The guards. Each is on until a test turns it off. The test must do that before
// it starts anything that reads the guard. Only tests may change them.
var (
	// How the database is read (keystore).
	AfterClusterTime = true // a fill is not older than the floor
	Majority         = true // a fill sees only what cannot be rolled back
	TwoDocuments     = true // a read by hash sees that there is a second document
	OwnConcerns      = true // a handle uses its own read and write concerns, not the client's

	// When an entry is valid (keycache).
	SeqBeforeRead   = true // an entry is stamped with the changes applied before its read
	TrustedStore    = true // a read that began while the history was lost is not stored
	EvenEpoch       = true // an entry of a lost history is not valid
	SameEpoch       = true // an entry of another epoch is not valid
	ByID            = true // an entry is not valid after a change of its document
	ByHash          = true // an entry is not valid after its hash appeared elsewhere
	Revalidate      = true // the result of a shared read is checked for each of its callers
	ChangeFloor     = true // a change raises the floor
	OpenFloor       = true // a new stream raises the floor
	EpochAtLoss     = true // a loss ends the epoch
	EpochAtOpen     = true // the new epoch begins with the new stream, not with the loss
	MaxStale        = true // data older than max_stale answer no request
	AbsentEpoch     = true // an absence holds for the epoch of its scan
	AbsentByHash    = true // a hash that appeared after the scan is not absent
	AbsentEvictions = true // a hash that may have been evicted is not absent
	CoveredStays    = true // an entry that a scan of this epoch has covered has no deadline, complete or not
	AbsentUnread    = true // after an event that does not show all of its hashes, no hash is absent
	AbsentBeside    = true // a hash that a scan has seen is not absent, although the base does not hold it
	BaseSealed      = true // what a scan has filled is not written to again
	EndedEntries    = true // an audit ends an entry of the base although nothing overwrites it
	SlotsBirth      = true // an entry that is older than the slot tables is not valid
	StampAside      = true // a change is stamped in the tables of a generation that is built aside
	StampHashes     = true // a change stamps each hash within an array
	MarkHashes      = true // a scan marks each hash within an array

	// When the front answers (keycache).
	FrontChecked = true // an entry of the front is checked like any other
	FrontEra     = true // an entry of the front ends with the entry that it was copied from
	FrontAudit   = true // an audit compares the front, too

	// When an update's event refuses a key (keystore, keycache).
	RefusalPlain   = true // an update that changes more than the switch and the expiry is read
	RefusalLast    = true // the refusal is the last change in its document's slot
	RefusalOwner   = true // the refusal is one of the entry's document
	RefusalAlone   = true // no other change lies between the entry's read and the refusal
	RefusalSettled = true // the entry's read was not ahead of the refusal
	RefusalDue     = true // an expiry refuses once it has come

	// When two documents have one hash (keycache).
	ChangeSole          = true // a document from a change is stored only if no other can have its hash
	RenewSole           = true // a read by _id only renews an entry of the same document
	AmbiguousMark       = true // the result of a read that found two documents is not stored
	AmbiguousRevalidate = true // a read that found two documents is used only if nothing has changed
	SeenTwice           = true // a hash that a scan sees in two documents gets no entry
	MarkOverlay         = true // a hash that a scan sees in two documents gets no entry in the overlay either
	Provisional         = true // a scan's entries are valid when it has ended, or once it has seen the index

	// When the history is lost (changestream).
	LossNoToken       = true // a stream that is opened without a token begins a new epoch
	LossHistory       = true // code 286
	LossPosition      = true // code 136
	LossTokenRefused  = true // code 260
	LossTokenRemoved  = true // code 280
	LossEventTooLarge = true // code 10334
	LossUnknownCode   = true // any code that is not known to be transient
	LossCursorEnded   = true // a cursor that ends without an error
	LossDrop          = true // the event
	LossRename        = true // the event, away or onto
	LossDropDatabase  = true // the event
	LossInvalidate    = true // the event
	LossUndecodable   = true // an event that cannot be decoded
	LossUnknownType   = true // an event of an unknown type
	CatchUpBound      = true // a stream that stays behind although the database works
	LossRewound       = true // a heartbeat whose predecessor is not in the database

	// What a heartbeat proves (changestream).
	RandomNonces    = true // no one can write a nonce that has not been sent
	SameCursor      = true // a position of the stream proves only what was sent since its cursor was open
	VerifiedHistory = true // a resumed stream needs a history that a heartbeat has verified

	// Which updates pass the stream's filter (changestream).
	NestedFields  = true // an update of a nested field or of an element is one of the whole field
	RemovedFields = true // an update of a field is also what removes the field or shortens its array
	UnshownFields = true // an update that may have changed more than it shows passes

	// How the stream is opened (changestream).
	InspectAtOpen   = true // a missing collection is not opened
	DefaultBatch    = true // the batch size keeps its default
	ToCollection    = true // renames onto the collection pass the filter
	ProcessedBefore = true // a time counts as processed when a later one has been seen
	FailureReported = true // an error during a loss is counted and logged, too

	// How a request is answered (validator).
	InspectAtRead = true // a read that finds nothing while the history is lost is not yet a no
	RevisionFirst = true // a heartbeat shows whether a revision is ahead, before the database is read
	RevisionSlots = true // reads that wait for a revision that may be ahead use few of the slots

	// Who counts as an instance of the fleet (fleet).
	FleetOwnClock = true // an instance is dropped by the time on this instance's own clock
)

// Switches maps each guard's name to its switch.
var Switches = map[string]*bool{
	"AfterClusterTime":    &AfterClusterTime,
	"Majority":            &Majority,
	"TwoDocuments":        &TwoDocuments,
	"OwnConcerns":         &OwnConcerns,
	"SeqBeforeRead":       &SeqBeforeRead,
	"TrustedStore":        &TrustedStore,
	"EvenEpoch":           &EvenEpoch,
	"SameEpoch":           &SameEpoch,
	"ByID":                &ByID,
	"ByHash":              &ByHash,
	"Revalidate":          &Revalidate,
	"ChangeFloor":         &ChangeFloor,
	"OpenFloor":           &OpenFloor,
	"EpochAtLoss":         &EpochAtLoss,
	"EpochAtOpen":         &EpochAtOpen,
	"MaxStale":            &MaxStale,
	"AbsentEpoch":         &AbsentEpoch,
	"AbsentByHash":        &AbsentByHash,
	"AbsentEvictions":     &AbsentEvictions,
	"CoveredStays":        &CoveredStays,
	"FrontChecked":        &FrontChecked,
	"FrontEra":            &FrontEra,
	"FrontAudit":          &FrontAudit,
	"RefusalPlain":        &RefusalPlain,
	"RefusalLast":         &RefusalLast,
	"RefusalAlone":        &RefusalAlone,
	"RefusalSettled":      &RefusalSettled,
	"RefusalOwner":        &RefusalOwner,
	"RefusalDue":          &RefusalDue,
	"ChangeSole":          &ChangeSole,
	"RenewSole":           &RenewSole,
	"AmbiguousMark":       &AmbiguousMark,
	"AmbiguousRevalidate": &AmbiguousRevalidate,
	"SeenTwice":           &SeenTwice,
	"MarkOverlay":         &MarkOverlay,
	"Provisional":         &Provisional,
	"AbsentUnread":        &AbsentUnread,
	"AbsentBeside":        &AbsentBeside,
	"BaseSealed":          &BaseSealed,
	"EndedEntries":        &EndedEntries,
	"SlotsBirth":          &SlotsBirth,
	"StampAside":          &StampAside,
	"StampHashes":         &StampHashes,
	"MarkHashes":          &MarkHashes,
	"LossNoToken":         &LossNoToken,
	"LossHistory":         &LossHistory,
	"LossPosition":        &LossPosition,
	"LossTokenRefused":    &LossTokenRefused,
	"LossTokenRemoved":    &LossTokenRemoved,
	"LossEventTooLarge":   &LossEventTooLarge,
	"LossUnknownCode":     &LossUnknownCode,
	"LossCursorEnded":     &LossCursorEnded,
	"LossDrop":            &LossDrop,
	"LossRename":          &LossRename,
	"LossDropDatabase":    &LossDropDatabase,
	"LossInvalidate":      &LossInvalidate,
	"LossUndecodable":     &LossUndecodable,
	"LossUnknownType":     &LossUnknownType,
	"CatchUpBound":        &CatchUpBound,
	"LossRewound":         &LossRewound,
	"RandomNonces":        &RandomNonces,
	"SameCursor":          &SameCursor,
	"VerifiedHistory":     &VerifiedHistory,
	"NestedFields":        &NestedFields,
	"RemovedFields":       &RemovedFields,
	"UnshownFields":       &UnshownFields,
	"InspectAtOpen":       &InspectAtOpen,
	"DefaultBatch":        &DefaultBatch,
	"ToCollection":        &ToCollection,
	"ProcessedBefore":     &ProcessedBefore,
	"FailureReported":     &FailureReported,
	"InspectAtRead":       &InspectAtRead,
	"RevisionFirst":       &RevisionFirst,
	"RevisionSlots":       &RevisionSlots,
	"FleetOwnClock":       &FleetOwnClock,
}
