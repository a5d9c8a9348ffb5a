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
	// DefaultSurvey is how many documents a Survey looks at when nobody says:
	// enough to meet what one in a few hundred has, and read in well under a
	// second.
	DefaultSurvey = 1000
	// startSurvey is how many Prepare looks at: one batch of the server's each
	// way, enough to see that a mapping fits no document at all.
	startSurvey = 100
	// startSurveyWithin is how long Prepare waits for them: a start must not hang on
	// what the first scan finds out anyway.
	startSurveyWithin = 5 * time.Second
	// surveyIDs is how many documents are named for each thing found.
	surveyIDs = 10
	// maxOthers is how many fields without a role are named.
	maxOthers = 30
)

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
	// HashEncoding or a Shape. The documents whose hash is in the declared
	// encoding are counted, and not named.
	Hashes []SurveyGroup
	// Readable is how many hashes each encoding could read. Some base64 looks the
	// same in two of them. Encodings that could read none are not in it.
	Readable map[HashEncoding]int
	// Fields are the roles that have a field, in the order of the Schema.
	Fields []SurveyField
	// Others are root fields that documents have and no role does, in
	// alphabetical order, 30 at most: one of them may be what a role's field is
	// called here.
	Others []string

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

	absence absence
}

// Broken is how many documents cannot be read as keys.
func (s *Survey) Broken() int { return s.Documents - s.Keys }

// Survey looks at up to limit documents (zero: DefaultSurvey), majority-committed
// and read on the primary. It is bounded by ctx. It reports nothing to the log or
// the metrics.
func (s *Store) Survey(ctx context.Context, limit int) (*Survey, error) {
	return s.SurveyEach(ctx, limit, func(Document) {})
}

// SurveyEach is a Survey that calls see for each document that it looks at.
func (s *Store) SurveyEach(ctx context.Context, limit int, see func(Document)) (*Survey, error) {
	if limit <= 0 {
		limit = DefaultSurvey
	}
	total, err := s.Count(ctx)
	if err != nil {
		return nil, err
	}
	found, err := s.lookAt(ctx, limit, see)
	if err != nil {
		return nil, err
	}
	found.Total = total
	return found, nil
}

// lookAt is a Survey that does not know how many documents there are.
func (s *Store) lookAt(ctx context.Context, limit int, see func(Document)) (*Survey, error) {
	l := newLook(s.namespace(), s.schema, time.Now(), see)
	// By _id both ways, which its index serves however large the collection is.
	// $sample would give another answer each time, and reads all of a small one.
	for _, half := range []struct{ order, limit int }{{1, (limit + 1) / 2}, {-1, limit / 2}} {
		if half.limit == 0 {
			continue
		}
		n, err := s.surveyHalf(ctx, half.order, half.limit, l.see)
		if err != nil {
			return nil, s.explain("looking at the documents of "+s.namespace(), err)
		}
		if n < half.limit {
			break
		}
	}
	return l.survey(), nil
}

func (s *Store) surveyHalf(ctx context.Context, order, limit int, see func(bson.Raw)) (int, error) {
	cursor, err := s.keys.Find(ctx, bson.D{}, byID(order).SetLimit(int64(limit)))
	if err != nil {
		return 0, err
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	n := 0
	for cursor.Next(ctx) {
		see(cursor.Current)
		n++
	}
	return n, cursor.Err()
}

// look is the state of one Survey.
type look struct {
	found Survey
	now   time.Time
	// seen are the documents that the first half had.
	seen map[apikey.DocID]struct{}
	// each is told of every document, once.
	each func(Document)
	// others are the names of root fields that have no role.
	others map[string]struct{}
	// defects maps a reason to the documents that have it.
	defects map[string]*SurveyGroup
	// hashes are what the hash field holds, document by document.
	hashes []surveyHash
}

type surveyHash struct {
	id    string
	value hashLook
}

func newLook(namespace string, schema Schema, now time.Time, each func(Document)) *look {
	l := &look{
		each:    each,
		others:  map[string]struct{}{},
		found:   Survey{Namespace: namespace, Readable: map[HashEncoding]int{}, schema: schema},
		now:     now,
		seen:    map[apikey.DocID]struct{}{},
		defects: map[string]*SurveyGroup{},
	}
	for _, f := range schema.fields() {
		if f.name != "" {
			l.found.Fields = append(l.found.Fields, SurveyField{Role: f.role, Field: f.name, Flag: f.flag, absence: f.absence})
		}
	}
	return l
}

// see takes in a document, once.
func (l *look) see(raw bson.Raw) {
	d := l.found.schema.Decode(raw)
	if _, again := l.seen[d.ID]; again {
		return
	}
	l.seen[d.ID] = struct{}{}
	l.found.Documents++
	l.each(d)
	l.name(raw)
	for i := range l.found.Fields {
		if v := raw.Lookup(l.found.Fields[i].Field); !missing(v) {
			l.found.Fields[i].Present++
		}
	}
	value := lookAtHash(raw.Lookup(l.found.schema.Hash))
	l.hashes = append(l.hashes, surveyHash{d.Record.KeyID, value})
	for _, e := range value.readable {
		l.found.Readable[e]++
	}
	l.judge(&d.Record)
}

// name takes note of the root fields that have no role.
func (l *look) name(raw bson.Raw) {
	elements, _ := elements(raw)
	for _, e := range elements {
		if name := e.Key(); len(l.others) < maxOthers && !l.found.schema.knows(name) {
			l.others[printable(name)] = struct{}{}
		}
	}
}

// knows reports whether a field has a role.
func (s Schema) knows(name string) bool {
	return name == idField || slices.ContainsFunc(s.fields(), func(f field) bool { return f.name == name })
}

func (l *look) judge(r *apikey.Record) {
	if r.Defect != "" {
		add(l.defects, r.Defect, r.KeyID)
		return
	}
	l.found.Keys++
	switch {
	case !r.Active:
		l.found.Inactive++
	case !r.ExpiresAt.IsZero() && !l.now.Before(r.ExpiresAt):
		l.found.Expired++
	}
}

// add counts a document under what it has in common with others. Without an id it
// is not named.
func add(groups map[string]*SurveyGroup, what, id string) {
	g := groups[what]
	if g == nil {
		g = &SurveyGroup{What: what}
		groups[what] = g
	}
	g.Count++
	if id != "" && len(g.IDs) < surveyIDs {
		g.IDs = append(g.IDs, id)
	}
}

// survey is what has been found so far.
func (l *look) survey() *Survey {
	found := l.found
	found.Defects = sorted(l.defects)
	found.Others = slices.Sorted(maps.Keys(l.others))
	order := found.likely()
	groups := map[string]*SurveyGroup{}
	for _, h := range l.hashes {
		what, id := h.value.as(order), h.id
		if what == string(order[0]) {
			id = ""
		}
		add(groups, what, id)
	}
	found.Hashes = sorted(groups)
	return &found
}

// likely are the encodings: the declared one, then those that could read most. A
// base64 text without a digit that tells is counted with the others that way.
func (s *Survey) likely() []HashEncoding {
	declared := s.schema.HashEncoding.or()
	order := HashEncodings()
	slices.SortStableFunc(order, func(a, b HashEncoding) int { return cmp.Compare(s.Readable[b], s.Readable[a]) })
	order = slices.DeleteFunc(order, func(e HashEncoding) bool { return e == declared })
	return slices.Insert(order, 0, declared)
}

func sorted(groups map[string]*SurveyGroup) []SurveyGroup {
	var list []SurveyGroup
	for _, what := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, *groups[what])
	}
	slices.SortStableFunc(list, func(a, b SurveyGroup) int { return cmp.Compare(b.Count, a.Count) })
	return list
}
