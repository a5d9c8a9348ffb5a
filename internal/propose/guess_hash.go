package propose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/keytail/keytail/internal/keystore"
)

func holdsHash(v *value) bool { return v.encodings != nil }

func reads(v *value, e keystore.HashEncoding) bool { return slices.Contains(v.encodings, e) }

// hash proposes the field with 32 bytes in each document, no two alike.
func (g *guesser) hash() Role {
	r := Role{Name: "the hash", Key: "map_hash"}
	all := g.hashCandidates()
	if g.found != nil {
		return g.knownHash(r, all)
	}
	best, others, ok := choose(all)
	if !ok {
		return g.noHash(r)
	}
	r.Status = Found
	g.take(&r, best.field)
	encoding, n := majority(g.sample, best.field, keystore.HashEncodings(), reads)
	g.setEncoding(&r, encoding)
	r.Seen = append(r.Seen, fmt.Sprintf("%s of 32 bytes %s%s; %s", encoding, g.inDocuments(n), g.repeated(best.field), g.indexes.describe(best.field)))
	g.otherEncodings(&r, encoding)
	g.otherGenerations(&r, best, others)
	r.Seen = append(r.Seen, g.hashUnknown())
	g.salt(&r)
	return r
}

// hashUnknown is for hashes of which none was made from a known key.
func (g *guesser) hashUnknown() string {
	if g.keyGiven {
		return "the known key was not found, so this may be another field, or another kind of hash: without a known key that is found, expect that every key is NOT_FOUND"
	}
	return "what was hashed, and by which algorithm, cannot be seen: give a known key (--key-file) to find out"
}

// knownHash is the field in which the hash of the known key stands.
func (g *guesser) knownHash(r Role, all []candidate) Role {
	m := g.found
	// One text can be valid in two encodings: the other documents decide.
	possible, _ := keystore.InspectHash(m.raw.Lookup(m.field))
	if encoding, n := majority(g.sample, m.field, possible, reads); n.sum() > 0 {
		m.encoding = encoding
	}
	r.Status = Found
	g.take(&r, m.field)
	g.setEncoding(&r, m.encoding)
	if m.after != "" {
		r.Forms = append(r.Forms, Setting{"map_hash_after", m.after})
	}
	n := g.count(m.field, func(v *value) bool { return reads(v, m.encoding) })
	r.Seen = []string{
		fmt.Sprintf("%s of 32 bytes %s%s; %s", m.encoding, g.inDocuments(n), g.repeated(m.field), g.indexes.describe(m.field)),
		fmt.Sprintf("the hash of the known key stands there: %s of %s", algorithmText[m.algorithm], m.part()),
	}
	g.otherEncodings(&r, m.encoding)
	others := slices.DeleteFunc(all, func(c candidate) bool { return c.field == m.field })
	g.otherGenerations(&r, candidate{field: m.field}, others)
	return r
}

// hashCandidates are all fields with hashes, whatever they are called: unique
// indexes first, then by name.
func (g *guesser) hashCandidates() []candidate {
	var all []candidate
	for _, field := range g.fields {
		fits := g.count(field, holdsHash)
		if fits.sum() == 0 || g.repeats(field) > fits.sum()/2 {
			continue
		}
		rank := 2 * hashRank(field)
		if !g.indexes.unique[field] {
			rank += 3
		}
		all = append(all, candidate{field: field, rank: rank, fits: fits, present: g.count(field, (*value).present)})
	}
	return all
}

// repeats is how many documents have a hash that another document before has.
func (g *guesser) repeats(field string) int {
	seen, n := map[uint64]bool{}, 0
	for _, d := range g.documents {
		if v := d[field]; v.encodings != nil {
			if seen[v.sum] {
				n++
			}
			seen[v.sum] = true
		}
	}
	return n
}

func (g *guesser) repeated(field string) string {
	switch n := g.repeats(field); {
	case n == 0 && g.size().sum() == 1:
		return ""
	case n == 0:
		return ", no two alike"
	default:
		g.warn("%s has a value in %s that another document has, too: two documents for one hash make the key DISABLED, and a unique index cannot be created", field, documents(n))
		return fmt.Sprintf(", but %s repeat a value", documents(n))
	}
}

func (g *guesser) setEncoding(r *Role, encoding keystore.HashEncoding) {
	if encoding != keystore.HashEncodings()[0] {
		r.Forms = append(r.Forms, Setting{"map_hash_encoding", string(encoding)})
	}
}

// otherEncodings tells of documents in which the field holds something else.
func (g *guesser) otherEncodings(r *Role, encoding keystore.HashEncoding) {
	var undecided []string
	for _, other := range keystore.HashEncodings() {
		if other == encoding {
			continue
		}
		n := g.count(r.Field, func(v *value) bool { return reads(v, other) && !reads(v, encoding) })
		both := g.count(r.Field, func(v *value) bool { return reads(v, other) && reads(v, encoding) })
		if both == g.count(r.Field, func(v *value) bool { return reads(v, encoding) }) {
			undecided = append(undecided, string(other))
		}
		if n.sum() > 0 {
			r.Seen = append(r.Seen, fmt.Sprintf("%s %s: keytail does not find these keys", other, g.inDocuments(n)))
			g.warn("%s holds %s %s: one encoding is read, so these keys would be NOT_FOUND until their hashes are written as %s", r.Field, other, g.inDocuments(n), encoding)
		}
	}
	if undecided != nil {
		r.Seen = append(r.Seen, fmt.Sprintf("no document shows whether it is %s or %s", encoding, strings.Join(undecided, " or ")))
	}
}

// otherGenerations tells of documents that have their hash in another field.
func (g *guesser) otherGenerations(r *Role, best candidate, others []candidate) {
	for _, c := range others {
		alone := g.countDocuments(func(d document) bool {
			mine, other := d[best.field], d[c.field]
			return mine.encodings == nil && other.encodings != nil
		})
		r.Seen = append(r.Seen, fmt.Sprintf("%s also holds 32 bytes, %s", c.field, g.inDocuments(c.fits)))
		if alone.sum() > 0 {
			g.warn("%s have their hash in %s and none in %s %s: keytail reads one field, so these keys would be NOT_FOUND until the hash is copied to %s",
				documents(alone.sum()), c.field, best.field, g.parts(alone), best.field)
		}
	}
}

// salt tells of a field that hints at salted hashes.
func (g *guesser) salt(r *Role) {
	for _, field := range g.fields {
		if strings.Contains(plainName(field), "salt") {
			r.Seen = append(r.Seen, fmt.Sprintf("there is a field %s: a hash that covers a salt cannot be looked up", field))
		}
	}
}

// noHash says what the documents have instead of a hash.
func (g *guesser) noHash(r Role) Role {
	r.Status = Missing
	for _, field := range g.byHashName() {
		shape, n := majority(g.sample, field, []keystore.Shape{keystore.ShapeBcrypt, keystore.ShapeArgon2, keystore.ShapeSalted, keystore.ShapePlain},
			func(v *value, s keystore.Shape) bool { return v.present() && v.encodings == nil && v.shape == s })
		if n.sum() > 0 && (shape != keystore.ShapePlain || hashRank(field) < hashRank("")) {
			r.Seen = append(r.Seen, fmt.Sprintf("%s holds, %s, %s", field, g.inDocuments(n), shape.Advice("SHA-256")))
			break
		}
	}
	if nested := g.nested(); nested != "" {
		r.Seen = append(r.Seen, fmt.Sprintf("a hash stands in %s: keytail reads fields of the root only, so copy it to one, with one document for each key", nested))
	}
	if g.hashedIDs > 0 {
		r.Seen = append(r.Seen, fmt.Sprintf("_id holds 32 bytes in %s: keytail takes the hash from another field, so copy it to one", documents(g.hashedIDs)))
	}
	if r.Seen == nil {
		r.Seen = []string{"no field holds 32 bytes as hex, base64 or binary data: store the SHA-256 of each key in a field of its own, with a unique index"}
	}
	return r
}

// byHashName are the fields, the ones first whose names look like a hash.
func (g *guesser) byHashName() []string {
	fields := slices.Clone(g.fields)
	slices.SortStableFunc(fields, func(a, b string) int { return cmp.Compare(hashRank(a), hashRank(b)) })
	return fields
}

// nested returns the path of hashes that are not in a field of the root.
func (s *sample) nested() string {
	for _, field := range s.fields {
		for _, d := range s.documents {
			if v := d[field]; v.inside != "" {
				return s.shownPath(field + v.inside)
			}
		}
	}
	return ""
}

// shownPath returns a path if at least two documents have a hash there. Otherwise
// names in it may be data, and only the field of the root is named.
func (s *sample) shownPath(path string) string {
	root, _, _ := strings.Cut(strings.ReplaceAll(path, "[", "."), ".")
	n := s.count(root, func(v *value) bool { return v.inside != "" && root+v.inside == path })
	if n.sum() >= minShared {
		return path
	}
	return "the embedded documents of " + root
}

// countDocuments counts whole documents.
func (s *sample) countDocuments(is func(document) bool) share {
	var n share
	for i, d := range s.documents {
		switch {
		case !is(d):
		case i < s.older:
			n.older++
		default:
			n.newer++
		}
	}
	return n
}

// parts says from which part of the sample documents are.
func (s *sample) parts(n share) string {
	size := s.size()
	return fmt.Sprintf("(%d of the %d oldest, %d of the %d newest)", n.older, size.older, n.newer, size.newer)
}
