package propose

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.yaml.in/yaml/v3"

	"github.com/keytail/keytail/internal/apikey"
)

// shapeMaker makes random documents: names that roles have and names that are data,
// each with values of any type.
type shapeMaker struct {
	*rand.Rand
	// secrets are the texts of all values, and names that are data.
	secrets []string
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// secret is a text that nothing else says.
func (m *shapeMaker) secret() string {
	var b strings.Builder
	for range 8 + m.IntN(60) {
		b.WriteByte(letters[m.IntN(len(letters))])
	}
	m.secrets = append(m.secrets, b.String())
	return b.String()
}

var allNames = func() []string {
	var all []string
	for _, list := range []names{
		userNames, callerNames, orgNames, projectNames, scopeNames, networkNames, expiryNames, nameNames, metadataNames,
		prefixNames, createdNames, lastUsedNames, countNames, limiterNames, statusNames,
	} {
		all = append(all, list...)
	}
	return append(all, "keyHash", "token", "isRevoked", "deletedAt", "enabled", "disabled", "salt", "on", "yes", "null", "no", "~", "true")
}()

func (m *shapeMaker) name() string {
	switch m.IntN(12) {
	case 0:
		return m.secret()
	case 1:
		return "$" + m.secret()
	case 2:
		return "a." + m.secret()
	case 3:
		return "Zz" + strings.ToLower(fmt.Sprint(m.IntN(40))) // shared by several documents
	}
	return allNames[m.IntN(len(allNames))]
}

func (m *shapeMaker) value(depth int) any {
	switch m.IntN(16) {
	case 0:
		return nil
	case 1:
		return m.IntN(2) == 0
	case 2:
		return time.Unix(m.Int64N(1e11), 0)
	case 3:
		return m.Int64()
	case 4:
		return m.Float64() * 1e12
	case 5:
		return bson.NewObjectID()
	case 6:
		return bson.Binary{Subtype: byte(m.IntN(6)), Data: []byte(m.secret())}
	case 7, 8:
		return hexHash(m.secret())
	case 9:
		return "$2b$10$" + m.secret()
	case 10:
		return bson.Symbol(m.secret())
	case 11:
		return []any{bson.Regex{Pattern: m.secret()}, bson.JavaScript(m.secret()), bson.MinKey{}, bson.Undefined{}, bson.Timestamp{T: 5}, bson.Decimal128{}}[m.IntN(6)]
	case 12:
		if depth > 0 {
			return bson.D{{Key: m.name(), Value: m.value(depth - 1)}, {Key: m.name(), Value: m.value(depth - 1)}}
		}
	case 13:
		if depth > 0 {
			return bson.A{m.value(depth - 1), m.value(depth - 1)}
		}
	}
	return m.secret()
}

func (m *shapeMaker) document() bson.D {
	d := bson.D{}
	for range m.IntN(25) {
		d = append(d, bson.E{Key: m.name(), Value: m.value(6)})
	}
	return d
}

// TestNoValueIsShown: whatever the documents are, the proposal shows nothing of a value
// and no name that is data. It is always YAML, whose settings are strings, and the
// mapping in it is one that serve accepts unless something is left to do.
func TestNoValueIsShown(t *testing.T) {
	for seed := range uint64(300) {
		m := &shapeMaker{Rand: rand.New(rand.NewPCG(seed, 16))}
		documents := make([]bson.D, 1+m.IntN(12))
		for i := range documents {
			documents[i] = m.document()
		}
		p := guessed(t, documents...)
		all := said(p)
		for _, secret := range m.secrets {
			if strings.Contains(all, secret) {
				t.Fatalf("seed %d shows %q:\n%s", seed, secret, all)
			}
		}
		var settings map[string]string
		if err := yaml.Unmarshal([]byte(p.YAML()), &settings); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, p.YAML())
		}
		for i := range p.Roles {
			if r := &p.Roles[i]; r.Status != Missing && settings[r.Key] != r.Field {
				t.Fatalf("seed %d: %s is %q in the file, want %q", seed, r.Key, settings[r.Key], r.Field)
			}
		}
		if err := p.Schema().CheckMapping(); p.OK() && err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, p.YAML())
		}
	}
}

// TestTheSearchForAKeyShowsNothing, whatever the documents are.
func TestTheSearchForAKeyShowsNothing(t *testing.T) {
	for seed := range uint64(100) {
		m := &shapeMaker{Rand: rand.New(rand.NewPCG(seed, 17))}
		key := "sk_" + m.secret() + "-" + m.secret()
		search := keySearch{attempts: attemptsFor(key, hashSecret)}
		var documents []bson.D
		for range 5 {
			d := m.document()
			if m.IntN(2) == 0 {
				d = append(d, bson.E{Key: "token", Value: []any{hexHash(key), key, bson.A{hexHash(key)}, hexHash(strings.SplitN(key, "-", 2)[1])}[m.IntN(4)]})
			}
			documents = append(documents, d)
			raw, err := bson.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			search.see(raw)
		}
		g := &guesser{sample: sampleOf(t, documents...), found: search.usable()}
		g.guess()
		g.proposal.Known = search.verdict(Config{Key: key, Expect: apikey.Valid, Now: when}, g.sample, g.proposal.Schema())
		all := said(&g.proposal)
		for _, secret := range append(m.secrets, key, hexHash(key)) {
			if strings.Contains(all, secret) {
				t.Fatalf("seed %d shows %q:\n%s", seed, secret, all)
			}
		}
	}
}

// TestNamesThatAreDataAreNotShown, and those of programs are.
func TestNamesThatAreDataAreNotShown(t *testing.T) {
	for name, want := range map[string]bool{
		"keyHash": true, "_id": true, "created-at": true, "sha256": true, "field_12": true, "a": true,
		"": false, "a.b": false, "$set": false, "Zq8mW2vKx7Pp": false, "0a1b2c3d4e5f": false, "user name": false, "naïve": false, "a\nb": false,
		strings.Repeat("a", 60): false, "ada@example.org": false, "#": false, "x: y": false,
	} {
		if got := nameable(name); got != want {
			t.Errorf("nameable(%q): got %v, want %v", name, got, want)
		}
	}
	p := guessed(t, ten(func(i int) bson.D {
		return bson.D{{Key: "sk_live_" + strings.Repeat(string(rune('a'+i)), 12), Value: hexHash(fmt.Sprint(i))}}
	})...)
	if strings.Contains(said(p), "sk_live_") {
		t.Errorf("a name that one document has is shown:\n%s", said(p))
	}
}
