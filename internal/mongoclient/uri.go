package mongoclient

import (
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
)

// CheckURI returns every reason for which a connection string is refused, as
// far as that can be found out without the network and without the driver.
func CheckURI(uri string) error {
	table := OptionTable()
	var mistakes []error
	for name, value := range decodedOptions(uri) {
		if o, known := findOption(table, name); known && o.refuse != nil {
			if why := o.refuse(value); why != "" {
				mistakes = append(mistakes, errors.New(why))
			}
		}
	}
	return errors.Join(mistakes...)
}

// notes returns log lines about options that are overridden, unknown, or risky.
func notes(uri string) []string {
	table := OptionTable()
	var all []string
	for name, value := range decodedOptions(uri) {
		o, known := findOption(table, name)
		switch {
		case !known:
			all = append(all, fmt.Sprintf("the MongoDB driver ignores the option %q of --mongodb-uri, which it does not know: check its spelling, or remove it", name))
		case o.Effect == Overridden && !slices.Contains(o.same, value):
			all = append(all, fmt.Sprintf("the option %s of --mongodb-uri is not used: %s", o.Name, withoutMarkup(o.Why)))
		case o.Effect == NoEffect:
			all = append(all, fmt.Sprintf("the option %s of --mongodb-uri has no effect: %s", o.Name, withoutMarkup(o.Why)))
		case o.Name == "tlsInsecure" && value == "true":
			all = append(all, "--mongodb-uri sets tlsInsecure=true: anyone who can redirect the connection can impersonate the database and make any key valid")
		}
	}
	return all
}

// withoutMarkup returns a sentence of the table as plain text.
func withoutMarkup(markdown string) string {
	return strings.TrimSuffix(strings.ReplaceAll(markdown, "`", ""), ".")
}

// rawOptions returns the options of a connection string's query, undecoded.
func rawOptions(query string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for option := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
			name, value, _ := strings.Cut(option, "=")
			if !yield(name, value) {
				return
			}
		}
	}
}

// decodedOptions returns the options of a connection string, decoded as the
// driver does.
func decodedOptions(uri string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		_, query, _ := strings.Cut(uri, "?")
		for name, value := range rawOptions(query) {
			if decoded, err := url.QueryUnescape(value); err == nil {
				value = decoded
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

// redactSecrets removes the user, the password and the values of all options
// from a text about a URI, in both their raw and their decoded form.
func redactSecrets(text, uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	beforeQuery, query, _ := strings.Cut(rest, "?")
	var secrets []string
	if userInfo, _, found := strings.Cut(beforeQuery, "@"); found {
		user, password, _ := strings.Cut(userInfo, ":")
		secrets = append(secrets, password, user)
	}
	for _, value := range rawOptions(query) {
		secrets = append(secrets, value)
	}
	for _, secret := range secrets {
		text = redact(text, secret)
		if decoded, err := url.PathUnescape(secret); err == nil {
			text = redact(text, decoded)
		}
	}
	return text
}

func redact(text, secret string) string {
	if secret == "" {
		return text
	}
	return strings.ReplaceAll(text, secret, "…")
}
