package propose

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// perEnd is how many documents are read from each end of the order by _id.
	perEnd = 500
	// bytesPerEnd ends the reading of large documents early. One reply of the
	// server, 16 MiB at most, can come on top.
	bytesPerEnd = 16 << 20
	// batch is how many documents one reply has.
	batch = 100
)

// sample is what some documents of the collection show: the oldest and the newest
// by _id. Ids usually rise with time, so if the conventions of the collection have
// changed, it was between them.
type sample struct {
	// documents are in the order of their _ids; the first older ones are the
	// older part.
	documents []document
	older     int
	// total is how many documents the collection has by its metadata.
	total int64
	// cut: large documents ended the reading early. bytes is their size.
	cut   bool
	bytes int
	// unnamed is how many documents have fields that were left out: their names
	// look like data, or there are too many. hashedIDs is how many documents have
	// a hash as _id.
	unnamed, hashedIDs int
	// fields are the names that at least two documents have, sorted.
	fields []string
}

// read calls each for every document that it reads, once. now is the time of the sample.
func read(ctx context.Context, now time.Time, keys *mongo.Collection, each func(bson.Raw)) (*sample, error) {
	total, err := keys.EstimatedDocumentCount(ctx)
	if err != nil {
		return nil, err
	}
	r := &reader{keys: keys, each: each, observer: observer{maphash.MakeSeed(), now}, ids: map[string]struct{}{}}
	oldest, all, err := r.end(ctx, 1)
	if err != nil {
		return nil, err
	}
	s := &sample{documents: oldest, older: len(oldest) / 2, total: max(total, int64(len(oldest)))}
	if !all {
		newest, _, err := r.end(ctx, -1)
		if err != nil {
			return nil, err
		}
		slices.Reverse(newest)
		s.documents, s.older = append(oldest, newest...), len(oldest)
	}
	s.cut, s.bytes, s.unnamed, s.hashedIDs = r.cut, r.bytes, r.unnamed, r.hashedIDs
	s.fields = s.sharedNames()
	return s, nil
}

type reader struct {
	observer
	keys *mongo.Collection
	each func(bson.Raw)
	// ids are the _ids read so far.
	ids map[string]struct{}
	// The others are those of the sample.
	cut                       bool
	bytes, unnamed, hashedIDs int
}

// end reads from one end. all: there are no more documents.
func (r *reader) end(ctx context.Context, order int) (documents []document, all bool, err error) {
	cursor, err := r.keys.Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: order}}).SetLimit(perEnd).SetBatchSize(batch))
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	limit := r.bytes + bytesPerEnd
	for cursor.Next(ctx) {
		raw := cursor.Current
		id := raw.Lookup("_id")
		key := fmt.Sprintf("%d %s", id.Type, id.Value)
		if _, again := r.ids[key]; again {
			return documents, true, nil
		}
		r.ids[key] = struct{}{}
		r.each(raw)
		documents = append(documents, r.see(raw, id))
		if r.bytes += len(raw); r.bytes > limit {
			r.cut = true
			return documents, false, nil
		}
	}
	return documents, len(documents) < perEnd, cursor.Err()
}

func (r *reader) see(raw bson.Raw, id bson.RawValue) document {
	d, all := r.document(raw)
	if !all {
		r.unnamed++
	}
	if isHash(id) {
		r.hashedIDs++
	}
	return d
}

// sharedNames returns the names that more than one document has, and those that are
// words that roles are called: the others may be data. (Only one key of a thousand
// may have a revokedAt.) Of a single document they are all that can be trusted.
func (s *sample) sharedNames() []string {
	counts := map[string]int{}
	for _, d := range s.documents {
		for name := range d {
			counts[name]++
		}
	}
	var shared []string
	for name, count := range counts {
		if count >= minShared || isVocabulary(name) || len(s.documents) == 1 && namesHash(name) {
			shared = append(shared, name)
		}
	}
	slices.Sort(shared)
	return shared
}

// share counts documents by the part of the sample that they are in.
type share struct{ older, newer int }

func (s share) sum() int { return s.older + s.newer }

// collectionBytes is about how many bytes the collection has.
func (s *sample) collectionBytes() int64 { return s.total * int64(s.bytes/max(1, len(s.documents))) }

// count counts the documents whose field is as told. An absent field is the zero
// value.
func (s *sample) count(field string, is func(*value) bool) share {
	var n share
	for i, d := range s.documents {
		v := d[field]
		switch {
		case !is(&v):
		case i < s.older:
			n.older++
		default:
			n.newer++
		}
	}
	return n
}

// size is how many documents there are.
func (s *sample) size() share { return share{s.older, len(s.documents) - s.older} }

// inDocuments says in how many documents something was seen, and in which part, if
// that differs.
func (s *sample) inDocuments(n share) string {
	size := s.size()
	switch {
	case n == size && n.sum() == 1:
		return "in the only document read"
	case n == size:
		return fmt.Sprintf("in all %d documents read", size.sum())
	case n.sum() == 0 && size.sum() == 1:
		return "not in the only document read"
	case n.sum() == 0:
		return fmt.Sprintf("in none of the %d documents read", size.sum())
	}
	text := fmt.Sprintf("in %d of the %d documents read", n.sum(), size.sum())
	if n.older*size.newer == n.newer*size.older {
		return text
	}
	return text + fmt.Sprintf(" (%d of the %d oldest, %d of the %d newest)", n.older, size.older, n.newer, size.newer)
}

// majority returns the most frequent of what newer documents show, or older ones
// if no newer one shows anything, and how many documents show it.
func majority[T comparable](s *sample, field string, all []T, is func(*value, T) bool) (T, share) {
	var best T
	var most share
	for _, candidate := range all {
		n := s.count(field, func(v *value) bool { return is(v, candidate) })
		if n.newer > most.newer || n.newer == most.newer && n.older > most.older {
			best, most = candidate, n
		}
	}
	return best, most
}
