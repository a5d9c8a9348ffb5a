package config

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// uriSecrets matches the text between the scheme and the host of a MongoDB URI.
// It is greedy, so that it covers a password with an unescaped '@'.
var uriSecrets = regexp.MustCompile(`(mongodb(?:\+srv)?://)\S*@`)

// Redact removes user and password from every MongoDB URI in a text.
func Redact(text string) string { return uriSecrets.ReplaceAllString(text, "${1}…@") }

// describeURI is a MongoDB URI without user, password and the values of its options, some
// of which are secret, too.
func describeURI(uri string) string {
	scheme, rest, found := strings.Cut(uri, "://")
	if !found {
		return ""
	}
	beforeQuery, query, _ := strings.Cut(rest, "?")
	text := scheme + "://" + beforeQuery[strings.LastIndex(beforeQuery, "@")+1:]
	separator := "?"
	for option := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(option, "=")
		text += separator + name + "=…"
		separator = "&"
	}
	return text
}

// Errors about --mongodb-uri. None quotes the URI.
var (
	errURIScheme = errors.New("--mongodb-uri must begin with mongodb:// or mongodb+srv://")
	errURIEscape = errors.New("--mongodb-uri contains a user name or password that is not escaped: write '@' as %40, ':' as %3A, '/' as %2F, '%' as %25")
)

// checkURI finds what the driver would misread or show. The driver's own checks
// follow when the client is created.
func checkURI(uri string) error {
	scheme, rest, found := strings.Cut(uri, "://")
	if !found || scheme != "mongodb" && scheme != "mongodb+srv" {
		return errURIScheme
	}
	// The driver cuts at the first '@', so that the rest of a password with an
	// unescaped one would be taken for the host, and shown in errors.
	beforeQuery, query, _ := strings.Cut(rest, "?")
	user, _, _ := strings.Cut(beforeQuery, "@")
	if strings.Count(beforeQuery, "@") > 1 || strings.Contains(query, "@") {
		return errURIEscape
	}
	if strings.Contains(beforeQuery, "@") && !isUserInfoEscaped(user) {
		return errURIEscape
	}
	return nil
}

// checkPasswordFile finds URIs to which a password cannot be added.
func checkPasswordFile(uri string) error {
	_, rest, _ := strings.Cut(uri, "://")
	beforeQuery, query, _ := strings.Cut(rest, "?")
	user, _, found := strings.Cut(beforeQuery, "@")
	switch {
	case !found || user == "" || user[0] == ':':
		return errors.New("--mongodb-password-file needs a user in --mongodb-uri: write mongodb://USER@HOST/DATABASE")
	case strings.Contains(user, ":"):
		return errors.New("--mongodb-uri has a password, and --mongodb-password-file has another: remove the one in the URI")
	case strings.Contains(strings.ToUpper(query), "AUTHMECHANISM=MONGODB-X509"):
		return errors.New("--mongodb-password-file is given, but --mongodb-uri uses MONGODB-X509, which has no password: remove one of them")
	}
	return nil
}

// hasPassword reports whether a URI has a password in it.
func hasPassword(uri string) bool {
	_, rest, _ := strings.Cut(uri, "://")
	user, _, found := strings.Cut(rest, "@")
	return found && strings.Contains(user, ":")
}

// WithPassword is a MongoDB URI whose user has this password. The URI must have
// passed the checks.
func WithPassword(uri, password string) string {
	user, rest, _ := strings.Cut(uri, "@")
	return user + ":" + strings.ReplaceAll(url.QueryEscape(password), "+", "%20") + "@" + rest
}

// isUserInfoEscaped reports whether user[:password] has only one reading.
func isUserInfoEscaped(userInfo string) bool {
	if strings.Count(userInfo, ":") > 1 || strings.Contains(userInfo, "/") {
		return false
	}
	_, err := url.PathUnescape(userInfo)
	return err == nil
}

// uriDatabase is the database in a URI's path, or "".
func uriDatabase(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	rest, _, _ = strings.Cut(rest, "?")
	_, path, _ := strings.Cut(rest, "/")
	name, err := url.PathUnescape(path)
	if err != nil {
		return ""
	}
	return name
}
