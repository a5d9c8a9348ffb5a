//go:build unguarded

package guard

// The guards. Each is on until a test takes it out, which it does before
// anything that asks has started; nothing else may.
var (
	// How the database is read (keystore).
	AfterClusterTime = true // a fill is not older than the floor
	Majority         = true // a fill sees only what cannot be rolled back
	TwoDocuments     = true // a read by hash sees that there is a second document
	OwnConcerns      = true // a handle reads and writes by its own concerns, not by the client's

	// When an entry is believed (keycache).
	SeqBeforeRead   = true // an entry is stamped with the changes applied before its read
	TrustedStore    = true // what was read while the history was lost is not stored
	EvenEpoch       = true // an entry of a lost history is not believed
	SameEpoch       = true // an entry of another epoch is not believed
	ByID            = true // an entry is not believed after a change of its document
	ByHash          = true // an entry is not believed after its hash appeared elsewhere
	Revalidate      = true // a shared read is checked for each of its callers
	ChangeFloor     = true // a change raises the floor
	OpenFloor       = true // a new stream raises the floor
	EpochAtLoss     = true // a loss ends the epoch
	EpochAtOpen     = true // the new epoch begins with the new stream, not with the loss
	MaxStale        = true // what is older than max_stale is not answered from memory
	AbsentEpoch     = true // an absence holds for the epoch of its scan
	AbsentByHash    = true // a hash that appeared after the scan is not absent
	AbsentEvictions = true // what may have been pushed out is not absent
	CoveredStays    = true // an entry that a scan of this epoch has covered has no deadline, complete or not
	AbsentUnread    = true // after an event that does not show all of its hashes nothing is absent
	StampHashes     = true // a change stamps each hash within an array
	MarkHashes      = true // a scan marks each hash within an array

	// When two documents have one hash (keycache).
	ChangeSole          = true // a document from a change is stored only if no other can have its hash
	RenewSole           = true // a read by _id only renews an entry of the same document
	AmbiguousMark       = true // nothing is kept of a read that found two documents
	AmbiguousRevalidate = true // a read that found two documents is vouched for only if nothing has changed
	SeenTwice           = true // what a scan sees in two documents is not believed from it
	Provisional         = true // a scan's documents are believed at its end, or once the index was seen

	// When the history is lost (changestream).
	LossNoToken       = true // a stream that is opened without a token begins a new epoch
	LossHistory       = true // code 286
	LossPosition      = true // code 136
	LossTokenRefused  = true // code 260
	LossTokenRemoved  = true // code 280
	LossEventTooLarge = true // code 10334
	LossUnknownCode   = true // any code that is not known to pass
	LossCursorEnded   = true // a cursor that ends without a word
	LossDrop          = true // the event
	LossRename        = true // the event, away or onto
	LossDropDatabase  = true // the event
	LossInvalidate    = true // the event
	LossUndecodable   = true // an event that cannot be read
	LossUnknownType   = true // an event of an unknown type
	CatchUpBound      = true // a stream that stays behind although the database works
	LossRewound       = true // a heartbeat whose predecessor is not in the database

	// What a heartbeat proves (changestream).
	RandomNonces    = true // nobody can write a nonce that has not been sent
	VerifiedHistory = true // a stream is not resumed into a history that no heartbeat has verified

	// How the stream is opened (changestream).
	InspectAtOpen   = true // a collection that is missing is not opened
	DefaultBatch    = true // the batch size is left alone
	ToCollection    = true // renames onto the collection pass the filter
	ProcessedBefore = true // a time is processed when a later one has been seen
	FailureReported = true // a refusal during a loss is counted and logged, too

	// How a key is answered (validator).
	InspectAtRead = true // nothing found while the history is lost is not yet a no
	RevisionFirst = true // a heartbeat says whether a revision is ahead before it is read
	RevisionSlots = true // reads after a revision that may be ahead take few of the places

	// Who counts as an instance of the fleet (fleet).
	FleetOwnClock = true // an instance is dropped by what this one has seen on its own clock
)

// Switches has every guard by its name.
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
	"ChangeSole":          &ChangeSole,
	"RenewSole":           &RenewSole,
	"AmbiguousMark":       &AmbiguousMark,
	"AmbiguousRevalidate": &AmbiguousRevalidate,
	"SeenTwice":           &SeenTwice,
	"Provisional":         &Provisional,
	"AbsentUnread":        &AbsentUnread,
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
	"VerifiedHistory":     &VerifiedHistory,
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
