package propose

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // to tell a person that their hashes are MD5
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"regexp"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// attempt is one way in which the hash of the known key could have been made and
// written.
type attempt struct {
	algorithm apikey.HashAlgorithm
	encoding  keystore.HashEncoding
	// after is the beginning of the key that is not hashed.
	after string
}

// attempts are all ways, by the value that a document would hold.
type attempts struct {
	texts, binaries map[string]attempt
	// others are values of which keytail reads none, with what they are.
	others map[string]string
	// hashed is how many parts of the key were hashed, algorithms by how many
	// algorithms.
	hashed, algorithms int
}

const (
	// separators can end the beginning of a key that is not hashed.
	separators = "_-.:~/"
	// maxParts limits how many of them are tried.
	maxParts = 16
)

// attemptsFor hashes the key in all ways. The secret adds HMAC.
func attemptsFor(key string, secret []byte) attempts {
	all := attempts{texts: map[string]attempt{}, binaries: map[string]attempt{}, others: map[string]string{}}
	algorithms := []apikey.HashAlgorithm{apikey.SHA256}
	if len(secret) > 0 {
		algorithms = append(algorithms, apikey.HMACSHA256)
	}
	all.algorithms = len(algorithms)
	for _, after := range beginnings(key) {
		all.hashed++
		for _, algorithm := range algorithms {
			all.add(key, after, algorithm, secret)
		}
		all.addOthers(strings.TrimPrefix(key, after), secret)
	}
	all.others[key] = "the key itself: replace it by its SHA-256 (docs/adopt-your-collection.md)"
	return all
}

// beginnings are the parts of the key that may not be hashed, none first.
func beginnings(key string) []string {
	all := []string{""}
	for i := range len(key) - apikey.MinTextLen {
		if strings.IndexByte(separators, key[i]) >= 0 && len(all) <= maxParts {
			all = append(all, key[:i+1])
		}
	}
	return all
}

func (a *attempts) add(key, after string, algorithm apikey.HashAlgorithm, secret []byte) {
	if algorithm == apikey.SHA256 {
		secret = nil
	}
	hasher, err := apikey.NewHasher(algorithm, secret, after)
	if err != nil {
		return
	}
	sum, err := hasher.Parse("", key)
	if err != nil {
		return
	}
	for _, encoding := range keystore.HashEncodings() {
		switch stored := encoding.Stored(sum).(type) {
		case string:
			// Two encodings may write the same text: the first one counts.
			if _, again := a.texts[stored]; !again {
				a.texts[stored] = attempt{algorithm, encoding, after}
			}
		case bson.Binary:
			a.binaries[string(stored.Data)] = attempt{algorithm, encoding, after}
		}
	}
}

// addOthers adds hashes that keytail does not read, so that a person is told.
func (a *attempts) addOthers(text string, secret []byte) {
	for name, function := range map[string]func() hash.Hash{"SHA-512": sha512.New, "SHA-1": sha1.New, "MD5": md5.New} {
		a.addOther(name, text, function())
		if len(secret) > 0 {
			a.addOther("HMAC with "+name, text, hmac.New(function, secret))
		}
	}
}

func (a *attempts) addOther(name, text string, function hash.Hash) {
	_, _ = function.Write([]byte(text)) // never fails
	sum := function.Sum(nil)
	what := name + " of the key, and keytail reads SHA-256 and HMAC-SHA256: store one of these in a field of its own when a key is next used"
	a.others[hex.EncodeToString(sum)] = what
	a.others[base64.StdEncoding.EncodeToString(sum)] = what
}

// find returns how a value holds a hash of the key. other says what the value is
// instead, if keytail does not read it.
func (a *attempts) find(v bson.RawValue) (found attempt, other string, ok bool) {
	switch v.Type {
	case bson.TypeString:
		text, _ := v.StringValueOK() // a value of length 0 is none, and no key's hash is empty
		if found, ok = a.texts[text]; ok {
			return found, "", true
		}
		return attempt{}, a.others[text], false
	case bson.TypeBinary:
		if subtype, data, valid := v.BinaryOK(); valid && subtype == bson.TypeBinaryGeneric {
			found, ok = a.binaries[string(data)]
		}
	}
	return found, "", ok
}

// values are what a query looks for: hashes alone, because a server can log a
// query.
func (a *attempts) values() bson.A {
	all := make(bson.A, 0, len(a.texts)+len(a.binaries))
	for text := range a.texts {
		all = append(all, text)
	}
	for data := range a.binaries {
		all = append(all, bson.Binary{Data: []byte(data)})
	}
	return all
}

// fixedBeginning consists of words, such as sk_live_ or Acme-v2-. A part that
// differs from key to key has other letters and more digits.
var fixedBeginning = regexp.MustCompile(`^(?:(?:[A-Z]?[a-z]{0,11}|[A-Z]{2,8})[0-9]{0,2}[-_.:~/]+){1,4}$`)

// fixed reports whether a beginning of a key can be that of all keys. Only then
// may it be shown.
func fixed(after string) bool { return after == "" || fixedBeginning.MatchString(after) }
