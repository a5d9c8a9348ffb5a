package propose

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

// testNow is when the documents of sampleOf are looked at.
var testNow = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// sampleOf is the sample of these documents, in the order of their _ids.
func sampleOf(t *testing.T, documents ...bson.D) *sample {
	t.Helper()
	o := observer{maphash.MakeSeed(), testNow}
	s := &sample{older: len(documents) / 2, total: int64(len(documents))}
	for _, d := range documents {
		raw, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		seen, _ := o.document(raw)
		s.documents = append(s.documents, seen)
	}
	s.fields = s.sharedNames()
	return s
}

// guessed is the proposal for these documents, of which field unique has a unique
// index.
func guessed(t *testing.T, documents ...bson.D) *Proposal {
	t.Helper()
	s := sampleOf(t, documents...)
	g := &guesser{sample: s, indexes: indexes{map[string]bool{}, map[string]bool{}}}
	g.proposal = Proposal{Database: "app", Collection: "keys", Documents: len(documents), Total: int64(len(documents)), Basis: s.basis()}
	g.guess()
	return &g.proposal
}

// ten makes ten documents, and completes each with what a key needs, unless it has a
// field of that name.
func ten(make func(i int) bson.D) []bson.D {
	var documents []bson.D
	for i := range 10 {
		d := make(i)
		for _, e := range (bson.D{{Key: "keyHash", Value: hexHash(fmt.Sprint("key ", i))}, {Key: "userId", Value: "user"}, {Key: "active", Value: true}}) {
			if !has(d, e.Key) {
				d = append(d, e)
			}
		}
		documents = append(documents, drop(d))
	}
	return documents
}

// gone is the value of a field that ten must not add.
type gone struct{}

func drop(d bson.D) bson.D {
	var left bson.D
	for _, e := range d {
		if e.Value != (gone{}) {
			left = append(left, e)
		}
	}
	return left
}

func has(d bson.D, name string) bool {
	for _, e := range d {
		if e.Key == name {
			return true
		}
	}
	return false
}

func hexHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// settings is a role with its forms: "revoked negated", or its status in brackets.
func settings(p *Proposal, key string) string {
	r := p.role(key)
	text := r.Field
	for _, form := range r.Forms {
		text += " " + form.Value
	}
	if r.open() || r.Field == "" {
		text += " (" + string(r.Status) + ")"
	}
	return strings.TrimSpace(text)
}

// said is everything that a person can read of a proposal.
func said(p *Proposal) string {
	text := p.YAML() + "\n" + strings.Join(p.Warnings, "\n")
	for _, row := range p.Summary() {
		text += "\n" + strings.Join(row[:], " ")
	}
	if p.Known != nil {
		text += "\n" + strings.Join(p.Known.Lines, "\n")
	}
	return text
}

// mustSay checks that the words are said, wherever lines are broken.
func mustSay(t *testing.T, p *Proposal, words ...string) {
	t.Helper()
	all := strings.Join(strings.Fields(strings.ReplaceAll(said(p), "\n#", "")), " ")
	for _, word := range words {
		if !strings.Contains(all, word) {
			t.Errorf("%q is not said:\n%s", word, said(p))
		}
	}
}

// devmongoConfig is that of a server of one test's own.
var devmongoConfig devmongo.Config
