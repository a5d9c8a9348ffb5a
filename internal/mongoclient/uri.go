package mongoclient

import (
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
)

// CheckURI says everything for which a connection string is refused, as far as
// that shows without the network and without the driver.
func CheckURI(uri string) error {
	table := Table()
	var mistakes []error
	for name, value := range given(uri) {
		if o, known := find(table, name); known && o.refuse != nil {
			if why := o.refuse(value); why != "" {
				mistakes = append(mistakes, errors.New(why))
			}
		}
	}
	return errors.Join(mistakes...)
}

// notes are for the log: options that are overridden, unknown, or risky.
func notes(uri string) []string {
	table := Table()
	var all []string
	for name, value := range given(uri) {
		o, known := find(table, name)
		switch {
		case !known:
			all = append(all, fmt.Sprintf("the MongoDB driver ignores the option %q of --mongodb-uri, which it does not know: check its spelling, or take it out", name))
		case o.Effect == Overridden && !slices.Contains(o.same, value):
			all = append(all, fmt.Sprintf("the option %s of --mongodb-uri is not used: %s", o.Name, plain(o.Why)))
		case o.Effect == Without:
			all = append(all, fmt.Sprintf("the option %s of --mongodb-uri has no effect: %s", o.Name, plain(o.Why)))
		case o.Name == "tlsInsecure" && value == "true":
			all = append(all, "--mongodb-uri sets tlsInsecure=true: whoever can redirect the connection can pretend to be the database, and make any key valid")
		}
	}
	return all
}

// plain is a sentence of the table without its markup.
func plain(markdown string) string {
	return strings.TrimSuffix(strings.ReplaceAll(markdown, "`", ""), ".")
}

// written are the options of a connection string's query, as they are written there.
func written(query string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for option := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
			name, value, _ := strings.Cut(option, "=")
			if !yield(name, value) {
				return
			}
		}
	}
}

// given are the options of a connection string, decoded as the driver does.
func given(uri string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		_, query, _ := strings.Cut(uri, "?")
		for name, value := range written(query) {
			if decoded, err := url.QueryUnescape(value); err == nil {
				value = decoded
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

// withoutSecrets takes the user, the password and the values of all options out
// of a text about a URI, in the form they have there and decoded.
func withoutSecrets(text, uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	beforeQuery, query, _ := strings.Cut(rest, "?")
	var secrets []string
	if userInfo, _, found := strings.Cut(beforeQuery, "@"); found {
		user, password, _ := strings.Cut(userInfo, ":")
		secrets = append(secrets, password, user)
	}
	for _, value := range written(query) {
		secrets = append(secrets, value)
	}
	for _, secret := range secrets {
		text = without(text, secret)
		if decoded, err := url.PathUnescape(secret); err == nil {
			text = without(text, decoded)
		}
	}
	return text
}

func without(text, secret string) string {
	if secret == "" {
		return text
	}
	return strings.ReplaceAll(text, secret, "…")
}
