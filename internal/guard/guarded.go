//go:build !unguarded

package guard

// The guards. Each is on, and cannot be anything else.
const (
	// How the database is read (keystore).
	AfterClusterTime bool = true // a fill is not older than the floor
	Majority         bool = true // a fill sees only what cannot be rolled back
	TwoDocuments     bool = true // a read by hash sees that there is a second document
	OwnConcerns      bool = true // a handle reads and writes by its own concerns, not by the client's

	// When an entry is believed (keycache).
	SeqBeforeRead   bool = true // an entry is stamped with the changes applied before its read
	TrustedStore    bool = true // what was read while the history was lost is not stored
	EvenEpoch       bool = true // an entry of a lost history is not believed
	SameEpoch       bool = true // an entry of another epoch is not believed
	ByID            bool = true // an entry is not believed after a change of its document
	ByHash          bool = true // an entry is not believed after its hash appeared elsewhere
	Revalidate      bool = true // a shared read is checked for each of its callers
	ChangeFloor     bool = true // a change raises the floor
	OpenFloor       bool = true // a new stream raises the floor
	EpochAtLoss     bool = true // a loss ends the epoch
	EpochAtOpen     bool = true // the new epoch begins with the new stream, not with the loss
	MaxStale        bool = true // what is older than max_stale is not answered from memory
	AbsentEpoch     bool = true // an absence holds for the epoch of its scan
	AbsentByHash    bool = true // a hash that appeared after the scan is not absent
	AbsentEvictions bool = true // what may have been pushed out is not absent
	CoveredStays    bool = true // an entry that a scan of this epoch has covered has no deadline, complete or not
	AbsentUnread    bool = true // after an event that does not show all of its hashes nothing is absent
	StampHashes     bool = true // a change stamps each hash within an array
	MarkHashes      bool = true // a scan marks each hash within an array

	// When two documents have one hash (keycache).
	ChangeSole          bool = true // a document from a change is stored only if no other can have its hash
	RenewSole           bool = true // a read by _id only renews an entry of the same document
	AmbiguousMark       bool = true // nothing is kept of a read that found two documents
	AmbiguousRevalidate bool = true // a read that found two documents is vouched for only if nothing has changed
	SeenTwice           bool = true // what a scan sees in two documents is not believed from it
	Provisional         bool = true // a scan's documents are believed at its end, or once the index was seen

	// When the history is lost (changestream).
	LossNoToken       bool = true // a stream that is opened without a token begins a new epoch
	LossHistory       bool = true // code 286
	LossPosition      bool = true // code 136
	LossTokenRefused  bool = true // code 260
	LossTokenRemoved  bool = true // code 280
	LossEventTooLarge bool = true // code 10334
	LossUnknownCode   bool = true // any code that is not known to pass
	LossCursorEnded   bool = true // a cursor that ends without a word
	LossDrop          bool = true // the event
	LossRename        bool = true // the event, away or onto
	LossDropDatabase  bool = true // the event
	LossInvalidate    bool = true // the event
	LossUndecodable   bool = true // an event that cannot be read
	LossUnknownType   bool = true // an event of an unknown type
	CatchUpBound      bool = true // a stream that stays behind although the database works
	LossRewound       bool = true // a heartbeat whose predecessor is not in the database

	// What a heartbeat proves (changestream).
	RandomNonces    bool = true // nobody can write a nonce that has not been sent
	VerifiedHistory bool = true // a stream is not resumed into a history that no heartbeat has verified

	// How the stream is opened (changestream).
	InspectAtOpen   bool = true // a collection that is missing is not opened
	DefaultBatch    bool = true // the batch size is left alone
	ToCollection    bool = true // renames onto the collection pass the filter
	ProcessedBefore bool = true // a time is processed when a later one has been seen
	FailureReported bool = true // a refusal during a loss is counted and logged, too

	// How a key is answered (validator).
	InspectAtRead bool = true // nothing found while the history is lost is not yet a no
	RevisionFirst bool = true // a heartbeat says whether a revision is ahead before it is read
	RevisionSlots bool = true // reads after a revision that may be ahead take few of the places

	// Who counts as an instance of the fleet (fleet).
	FleetOwnClock bool = true // an instance is dropped by what this one has seen on its own clock
)
