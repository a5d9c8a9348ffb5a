package keystore

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

const (
	// DefaultSurvey is how many documents a Survey reads by default: enough to
	// find something that one in a few hundred documents has, and read in well
	// under a second.
	DefaultSurvey = 1000
	// startSurvey is how many documents Prepare reads: one batch from each end,
	// enough to see that a mapping fits no document at all.
	startSurvey = 100
	// startSurveyWithin is how long Prepare waits for them: a slow read must
	// not delay the start, since the first scan finds the same problems.
	startSurveyWithin = 5 * time.Second
	// surveyIDs is how many documents a finding names.
	surveyIDs = 10
	// maxOthers is how many fields without a role are named.
	maxOthers = 30
)

// Survey is the result of reading some documents of the collection. It contains
// names of fields and types, counts, and ids of documents, but no value of any
// other field.
type Survey struct {
	// Namespace is <database>.<collection>.
	Namespace string
	// Documents is how many documents were read: all of them, or half from each
	// end of the order by _id. Ids usually rise with time, so these are the
	// oldest and the newest documents: if the conventions of the collection
	// have changed, it was between them.
	Documents int
	// Total is how many documents there are by the collection's metadata.
	Total int64
	// Keys is how many documents can be read as keys. Of these, Inactive are
	// switched off, Expired are on but have expired, and Unbound are bound to no
	// organisation.
	Keys, Inactive, Expired, Unbound int
	// Defects are the reasons why the other documents cannot be read, the most
	// frequent first.
	Defects []SurveyGroup
	// Hashes describes what the hash field contains, the most frequent first.
	// What is a HashEncoding or a Shape. The documents whose hash is in the
	// declared encoding are counted, and not named.
	Hashes []SurveyGroup
	// Readable is how many hashes each encoding could read. Some base64 texts
	// are valid in two encodings. Encodings that could read none are not in the
	// map.
	Readable map[HashEncoding]int
	// Fields are the roles that have a field, in the order of the Schema.
	Fields []SurveyField
	// Dates are the roles with dates that have a field.
	Dates []*SurveyDates
	// Others are root fields that a few of the documents have and that have no
	// role, in alphabetical order, 30 at most, without names that look like data: one of them may be the right name
	// of a role's field. Nil if each role's field is in some document.
	Others []string
	// OffFields are those root fields of a few of the documents that have no role,
	// are named like a switch, and hold a boolean, a date or null: keytail does not
	// see it if one of them switches a key off.
	OffFields []string

	schema Schema
	// hashes is how many documents have a hash that some encoding can read.
	hashes int
	// keyIDs is how many documents have the key itself as their _id.
	keyIDs int
}

// SurveyGroup counts documents that have something in common.
type SurveyGroup struct {
	What  string
	Count int
	// Unfindable is how many of them no lookup finds. The others are DISABLED.
	Unfindable int
	// IDs names up to 10 of them, by the text of their _id. None is named where
	// an _id is or could be a key: see forgetIDs.
	IDs []string
}

// SurveyField counts the documents in which the field of a role is present and
// not null.
type SurveyField struct {
	// Role is in words ("the user id"), Flag is the flag without its dashes
	// ("map-user-id").
	Role, Field, Flag string
	Present           int
	// Types counts the values that are present by their type, in words ("string",
	// "ObjectId", "array of strings").
	Types map[string]int

	absence absence
}

// lacksFields reports whether the field of a role is in no document.
func (s *Survey) lacksFields() bool {
	return s.Documents > 0 && slices.ContainsFunc(s.Fields, func(f SurveyField) bool { return f.Present == 0 })
}

// Broken returns how many documents cannot be read as keys.
func (s *Survey) Broken() int { return s.Documents - s.Keys }

// Survey reads up to limit documents (zero: DefaultSurvey), majority-committed
// and from the primary. ctx bounds it. It does not log, and changes no metrics.
func (s *Store) Survey(ctx context.Context, limit int) (*Survey, error) {
	return s.SurveyEach(ctx, limit, func(Document) {})
}

// SurveyEach is a Survey that calls see for each document that it reads.
func (s *Store) SurveyEach(ctx context.Context, limit int, see func(Document)) (*Survey, error) {
	if limit <= 0 {
		limit = DefaultSurvey
	}
	total, err := s.Count(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.sample(ctx, limit, see)
	if err != nil {
		return nil, err
	}
	found.Total = total
	return found, s.readOtherFields(ctx, found)
}

// sample is a Survey that does not know how many documents there are, nor their
// fields without a role.
func (s *Store) sample(ctx context.Context, limit int, see func(Document)) (*Survey, error) {
	sv := newSurveyor(s.Namespace(), s.schema, time.Now(), see)
	sv.hasher = s.hasher
	if err := s.readEnds(ctx, limit, s.schema.mappedFields(), sv.see); err != nil {
		return nil, err
	}
	return sv.survey(), nil
}

// surveyor is the state of one Survey.
type surveyor struct {
	found Survey
	now   time.Time
	// hasher shows whether an _id is the key itself.
	hasher apikey.Hasher
	// seen are the documents of the first half.
	seen map[apikey.DocID]struct{}
	// each is called with every document, once.
	each func(Document)
	// defects maps a reason to the documents that have it.
	defects map[string]*SurveyGroup
	// hashes is what the hash field contains, document by document.
	hashes []surveyHash
}

type surveyHash struct {
	id    string
	value hashContent
}

func newSurveyor(namespace string, schema Schema, now time.Time, each func(Document)) *surveyor {
	sv := &surveyor{
		each:    each,
		found:   Survey{Namespace: namespace, Readable: map[HashEncoding]int{}, Dates: schema.dateFields(), schema: schema},
		now:     now,
		seen:    map[apikey.DocID]struct{}{},
		defects: map[string]*SurveyGroup{},
	}
	for _, f := range schema.fields() {
		if f.name != "" {
			sv.found.Fields = append(sv.found.Fields, SurveyField{Role: f.role, Field: f.name, Flag: f.flag, Types: map[string]int{}, absence: f.absence})
		}
	}
	return sv
}

// see counts a document, unless it has been counted already.
func (sv *surveyor) see(raw bson.Raw) {
	d := sv.found.schema.Decode(raw)
	if _, again := sv.seen[d.ID]; again {
		return
	}
	sv.seen[d.ID] = struct{}{}
	sv.found.Documents++
	sv.each(d)
	for _, dates := range sv.found.Dates {
		dates.see(raw.Lookup(dates.Field), d.Record.KeyID)
	}
	for i := range sv.found.Fields {
		if v := raw.Lookup(sv.found.Fields[i].Field); !missing(v) {
			sv.found.Fields[i].Present++
			sv.found.Fields[i].Types[typeOf(v)]++
		}
	}
	if text, ok := stringOf(raw.Lookup(idField)); ok && d.HasHash {
		if hash, err := sv.hasher.Parse("", text); err == nil && hash == d.Hash {
			sv.found.keyIDs++
		}
	}
	value := inspectHash(raw.Lookup(sv.found.schema.Hash))
	sv.hashes = append(sv.hashes, surveyHash{d.Record.KeyID, value})
	if value.readable != nil {
		sv.found.hashes++
	}
	for _, e := range value.readable {
		sv.found.Readable[e]++
	}
	sv.countRecord(&d)
}

// hasRole reports whether a field has a role.
func (s Schema) hasRole(name string) bool {
	return name == idField || slices.ContainsFunc(s.fields(), func(f field) bool { return f.name == name })
}

func (sv *surveyor) countRecord(d *Document) {
	r := &d.Record
	if r.Defect != "" {
		addToGroup(sv.defects, r.Defect, r.KeyID)
		if d.Unfindable() {
			sv.defects[r.Defect].Unfindable++
		}
		return
	}
	sv.found.Keys++
	if r.OrgID == "" {
		sv.found.Unbound++
	}
	switch {
	case !r.Active:
		sv.found.Inactive++
	case !r.ExpiresAt.IsZero() && !sv.now.Before(r.ExpiresAt):
		sv.found.Expired++
	}
}

// addToGroup counts a document in a group. A document without an id is counted
// and not named.
func addToGroup(groups map[string]*SurveyGroup, what, id string) {
	g := groups[what]
	if g == nil {
		g = &SurveyGroup{What: what}
		groups[what] = g
	}
	g.add(id)
}

func (g *SurveyGroup) add(id string) {
	g.Count++
	if id != "" && len(g.IDs) < surveyIDs {
		g.IDs = append(g.IDs, id)
	}
}

// survey returns the result.
func (sv *surveyor) survey() *Survey {
	found := sv.found
	found.Defects = sortGroups(sv.defects)
	order := found.encodingOrder()
	groups := map[string]*SurveyGroup{}
	for _, h := range sv.hashes {
		what, id := h.value.classify(order), h.id
		if what == string(order[0]) {
			id = ""
		}
		addToGroup(groups, what, id)
	}
	found.Hashes = sortGroups(groups)
	if found.Readable[order[0]] == 0 || found.keyIDs > 0 {
		found.forgetIDs()
	}
	return &found
}

// forgetIDs removes the ids from what is wrong with the documents, because they
// are the keys, or could be. Where no document has a hash that can be looked up,
// the mapping is wrong, and ids would say nothing.
func (s *Survey) forgetIDs() {
	for _, d := range s.Dates {
		d.Early.IDs, d.Late.IDs, d.Unreadable.IDs = nil, nil, nil
	}
	for _, groups := range [][]SurveyGroup{s.Defects, s.Hashes} {
		for i := range groups {
			groups[i].IDs = nil
		}
	}
}

// encodingOrder returns the declared encoding, and then the others, those that
// could read most first. So a base64 text that is valid in two encodings is
// counted in the one that reads more of the other texts.
func (s *Survey) encodingOrder() []HashEncoding {
	declared := s.schema.HashEncoding.orDefault()
	order := HashEncodings()
	slices.SortStableFunc(order, func(a, b HashEncoding) int { return cmp.Compare(s.Readable[b], s.Readable[a]) })
	order = slices.DeleteFunc(order, func(e HashEncoding) bool { return e == declared })
	return slices.Insert(order, 0, declared)
}

func sortGroups(groups map[string]*SurveyGroup) []SurveyGroup {
	var list []SurveyGroup
	for _, what := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, *groups[what])
	}
	slices.SortStableFunc(list, func(a, b SurveyGroup) int { return cmp.Compare(b.Count, a.Count) })
	return list
}
