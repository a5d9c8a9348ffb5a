//go:build !unguarded

package guard

// The guards. Each is on and cannot be turned off.
const (
	// How the database is read (keystore).
	AfterClusterTime bool = true // a fill is not older than the floor
	Majority         bool = true // a fill sees only what cannot be rolled back
	TwoDocuments     bool = true // a read by hash sees that there is a second document
	OwnConcerns      bool = true // a handle uses its own read and write concerns, not the client's

	// When an entry is valid (keycache).
	SeqBeforeRead   bool = true // an entry is stamped with the changes applied before its read
	TrustedStore    bool = true // a read that began while the history was lost is not stored
	EvenEpoch       bool = true // an entry of a lost history is not valid
	SameEpoch       bool = true // an entry of another epoch is not valid
	ByID            bool = true // an entry is not valid after a change of its document
	ByHash          bool = true // an entry is not valid after its hash appeared elsewhere
	Revalidate      bool = true // the result of a shared read is checked for each of its callers
	ChangeFloor     bool = true // a change raises the floor
	OpenFloor       bool = true // a new stream raises the floor
	EpochAtLoss     bool = true // a loss ends the epoch
	EpochAtOpen     bool = true // the new epoch begins with the new stream, not with the loss
	MaxStale        bool = true // data older than max_stale answer no request
	AbsentEpoch     bool = true // an absence holds for the epoch of its scan
	AbsentByHash    bool = true // a hash that appeared after the scan is not absent
	AbsentEvictions bool = true // a hash that may have been evicted is not absent
	CoveredStays    bool = true // an entry that a scan of this epoch has covered has no deadline, complete or not
	AbsentUnread    bool = true // after an event that does not show all of its hashes, no hash is absent
	AbsentBeside    bool = true // a hash that a scan has seen is not absent, although the base does not hold it
	BaseSealed      bool = true // what a scan has filled is not written to again
	EndedEntries    bool = true // an audit ends an entry of the base although nothing overwrites it
	SlotsBirth      bool = true // an entry that is older than the slot tables is not valid
	StampAside      bool = true // a change is stamped in the tables of a generation that is built aside
	StampHashes     bool = true // a change stamps each hash within an array
	MarkHashes      bool = true // a scan marks each hash within an array

	// When the front answers (keycache).
	FrontChecked bool = true // an entry of the front is checked like any other
	FrontEra     bool = true // an entry of the front ends with the entry that it was copied from
	FrontAudit   bool = true // an audit compares the front, too

	// When an update's event refuses a key (keystore, keycache).
	RefusalPlain   bool = true // an update that changes more than the switch and the expiry is read
	RefusalLast    bool = true // the refusal is the last change in its document's slot
	RefusalOwner   bool = true // the refusal is one of the entry's document
	RefusalAlone   bool = true // no other change lies between the entry's read and the refusal
	RefusalSettled bool = true // the entry's read was not ahead of the refusal
	RefusalDue     bool = true // an expiry refuses once it has come

	// When two documents have one hash (keycache).
	ChangeSole          bool = true // a document from a change is stored only if no other can have its hash
	RenewSole           bool = true // a read by _id only renews an entry of the same document
	AmbiguousMark       bool = true // the result of a read that found two documents is not stored
	AmbiguousRevalidate bool = true // a read that found two documents is used only if nothing has changed
	SeenTwice           bool = true // a hash that a scan sees in two documents gets no entry
	MarkOverlay         bool = true // a hash that a scan sees in two documents gets no entry in the overlay either
	Provisional         bool = true // a scan's entries are valid when it has ended, or once it has seen the index

	// When the history is lost (changestream).
	LossNoToken       bool = true // a stream that is opened without a token begins a new epoch
	LossHistory       bool = true // code 286
	LossPosition      bool = true // code 136
	LossTokenRefused  bool = true // code 260
	LossTokenRemoved  bool = true // code 280
	LossEventTooLarge bool = true // code 10334
	LossUnknownCode   bool = true // any code that is not known to be transient
	LossCursorEnded   bool = true // a cursor that ends without an error
	LossDrop          bool = true // the event
	LossRename        bool = true // the event, away or onto
	LossDropDatabase  bool = true // the event
	LossInvalidate    bool = true // the event
	LossUndecodable   bool = true // an event that cannot be decoded
	LossUnknownType   bool = true // an event of an unknown type
	CatchUpBound      bool = true // a stream that stays behind although the database works
	LossRewound       bool = true // a heartbeat whose predecessor is not in the database

	// What a heartbeat proves (changestream).
	RandomNonces    bool = true // no one can write a nonce that has not been sent
	SameCursor      bool = true // a position of the stream proves only what was sent since its cursor was open
	VerifiedHistory bool = true // a resumed stream needs a history that a heartbeat has verified

	// Which updates pass the stream's filter (changestream).
	NestedFields  bool = true // an update of a nested field or of an element is one of the whole field
	RemovedFields bool = true // an update of a field is also what removes the field or shortens its array
	UnshownFields bool = true // an update that may have changed more than it shows passes

	// How the stream is opened (changestream).
	InspectAtOpen   bool = true // a missing collection is not opened
	DefaultBatch    bool = true // the batch size keeps its default
	ToCollection    bool = true // renames onto the collection pass the filter
	ProcessedBefore bool = true // a time counts as processed when a later one has been seen
	FailureReported bool = true // an error during a loss is counted and logged, too

	// How a request is answered (validator).
	InspectAtRead bool = true // a read that finds nothing while the history is lost is not yet a no
	RevisionFirst bool = true // a heartbeat shows whether a revision is ahead, before the database is read
	RevisionSlots bool = true // reads that wait for a revision that may be ahead use few of the slots

	// Who counts as an instance of the fleet (fleet).
	FleetOwnClock bool = true // an instance is dropped by the time on this instance's own clock
)
