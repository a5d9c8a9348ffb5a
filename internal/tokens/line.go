package tokens

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/rights"
)

// minToken is the shortest token, in bytes. 16 characters of a random token have
// at least 64 bits (in hex), which cannot be guessed over a network; shorter
// ones are passwords made up by people.
const minToken = 16

// maxToken excludes a line that is a mistake (a key file, a whole document).
const maxToken = 512

// validName is unreserved in a URL and harmless in a log.
var validName = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// entry is one line of the file: a token, or the name in a certificate.
type entry struct {
	identity rights.Identity
	// hash is that of the token. Zero: the line has a san.
	hash [sha256.Size]byte
	// san is a name in a certificate of the caller. Zero: the line has a token.
	san san
	// expires is the end of the token, exclusive. Zero: it has none.
	expires time.Time
}

func (e *entry) isExpired(now time.Time) bool { return !e.expires.IsZero() && !now.Before(e.expires) }

// parse reads the lines. Its errors follow the file's name, and never quote a
// line, nor the name in it: it may be a token in the wrong place, such as one in
// base64, which ends with '='.
func (c *Config) parse(content []byte) ([]entry, error) {
	var entries []entry
	var mistakes []error
	seen := lines{}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		e, err := c.parseLine(text)
		if err == nil {
			err = seen.add(&e, number)
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf(", line %d: %w", number, err))
			continue
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 && len(mistakes) == 0 {
		mistakes = append(mistakes, errors.New(" has no token: write lines of "+c.form()))
	}
	return entries, errors.Join(mistakes...)
}

// form is how a line looks.
func (c *Config) form() string {
	if c.Rights {
		return "name=token role=viewer, operator or admin"
	}
	return "name=token"
}

// lines maps what must be unique to the number of its line.
type lines map[any]int

// add is an error if another line has the same name, token or san.
func (l lines) add(e *entry, number int) error {
	identifies, what := any(e.hash), "token"
	if e.san != (san{}) {
		identifies, what = e.san, "san"
	}
	switch {
	case l[e.identity.Name] != 0:
		return fmt.Errorf("its name is already used in line %d", l[e.identity.Name])
	case l[identifies] != 0:
		return fmt.Errorf("it has the same %s as line %d", what, l[identifies])
	}
	l[e.identity.Name], l[identifies] = number, number
	return nil
}

func (c *Config) parseLine(text string) (entry, error) {
	words := strings.Fields(text)
	name, token, hasToken := strings.Cut(words[0], "=")
	hasSAN := slices.ContainsFunc(words[1:], func(word string) bool { return strings.HasPrefix(word, attributeSAN+"=") })
	var e entry
	switch {
	case !hasToken && !(c.Rights && hasSAN):
		return e, errors.New("it must have the form " + c.form() + ", without spaces around '='")
	case !validName.MatchString(name):
		return e, errors.New("a name must have 1 to 64 letters, digits or the characters . _ ~ -, without spaces around '='")
	case hasToken && (len(token) < minToken || len(token) > maxToken || !isPrintable(token)):
		return e, errors.New("the token after name= must have 16 to 512 printable ASCII characters and no spaces, such as the output of: openssl rand -hex 32")
	case hasToken && hasSAN:
		return e, errors.New("it has a token and san=: a line is for one of them, and another name is needed for the other")
	}
	e.identity.Name = name
	if hasToken {
		e.hash = sha256.Sum256([]byte(token))
	}
	return e, c.parseAttributes(&e, words[1:])
}

// The attributes of a line. Only expires is for callers of the public listener.
const (
	attributeRole    = "role"
	attributeUser    = "user_id"
	attributeOrg     = "org_id"
	attributeExpires = "expires"
	attributeSAN     = "san"
)

func (c *Config) parseAttributes(e *entry, words []string) error {
	seen := map[string]bool{}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		if seen[name] {
			return errors.New("an attribute is repeated")
		}
		seen[name] = true
		if !c.Rights && name != attributeExpires {
			return errors.New("after the token it may have only expires=, and no spaces in the token: roles are for --admin-token-file")
		}
		if err := e.set(name, value); err != nil {
			return err
		}
	}
	switch {
	case c.Rights && e.identity.Role == rights.None:
		return errors.New("it has no role: add role=viewer (reads), role=operator (also revokes) or role=admin (everything)")
	case e.san != (san{}) && !c.Certificates:
		return errors.New("san= needs certificates of clients: set --admin-tls-client-ca-file")
	}
	return nil
}

// set sets one attribute.
func (e *entry) set(name, value string) (err error) {
	switch name {
	case attributeRole:
		e.identity.Role, err = rights.ParseRole(value)
	case attributeUser:
		e.identity.Owner.UserID, err = value, checkID(name, value)
	case attributeOrg:
		e.identity.Owner.OrgID, err = value, checkID(name, value)
	case attributeSAN:
		e.san, err = parseSAN(value)
	case attributeExpires:
		if e.expires, err = time.Parse(time.RFC3339, value); err != nil {
			err = errors.New("expires must be a time such as 2027-01-31T00:00:00Z")
		}
	default:
		err = errors.New("after the first word it may have only role=, user_id=, org_id=, expires= and san=, without spaces in their values")
	}
	return err
}

func checkID(name, id string) error {
	if err := apikey.ValidID(id); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// isPrintable: what a header can carry, without the space that would end it.
func isPrintable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
