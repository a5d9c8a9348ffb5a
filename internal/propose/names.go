package propose

import (
	"regexp"
	"slices"
	"strings"

	"github.com/keytail/keytail/internal/keystore"
)

// identifier is what a program calls a field: letters, with digits in one place at
// most. A document can also be keyed by data, which must not be shown.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z_-]*[0-9]{0,3}[A-Za-z_-]*$`)

const (
	// maxName is the longest name, in bytes, and maxCapitals how many capitals one
	// with small letters has.
	maxName     = 40
	maxCapitals = 6
	// minShared is how many documents have a field that a program writes.
	minShared = 2
)

// nameable reports whether a name can be that of a field and not data.
func nameable(name string) bool {
	capitals := len(strings.Map(func(r rune) rune {
		if r < 'A' || r > 'Z' {
			return -1
		}
		return r
	}, name))
	return len(name) <= maxName && identifier.MatchString(name) && (capitals <= maxCapitals || name == strings.ToUpper(name))
}

// names is a role's list of names, the most likely first, in lower case and
// without separators.
type names []string

func list(text string) names { return strings.Fields(text) }

// The names of fields by role, as programs use them.
var (
	userNames = list(`userid user uid useruuid ownerid owner owneruserid accountid account memberid member identityid identity
		principalid principal subjectid subject sub customerid customer referenceid createdbyid createdby creatorid creator
		authorid author serviceaccountid serviceaccount consumerid consumer clientid client issuedto`)
	// callerNames say who uses a key that has no owner.
	callerNames = list(`email mail useremail owneremail username login name label title description`)
	orgNames    = list(`orgid org organizationid organization organisationid organisation tenantid tenant workspaceid workspace
		teamid team companyid company accountid account customerid customer`)
	projectNames  = list(`projectid project applicationid application appid app`)
	scopeNames    = list(`scopes scope permissions permission grants abilities capabilities privileges roles role`)
	networkNames  = list(`allowedips allowedip ipallowlist allowlist allowedipaddresses allowedcidrs allowednetworks allowediplist ipwhitelist whitelist whitelistedips iprestrictions ips cidrs`)
	expiryNames   = list(`expiresat expires expireat expire expiry expiration expiresdate expirydate expirationdate expirationtime expirytime expireson expireon expiredat expiretime expirestime validuntil validto notafter endsat endat enddate exp`)
	nameNames     = list(`name keyname label title displayname description`)
	metadataNames = list(`metadata meta attributes extra custom customdata customfields properties labels`)
	prefixNames   = list(`keyprefix prefix tokenprefix start partialkey displayprefix keystart hint`)
	createdNames  = list(`createdat created createdon createddate creationdate creationtime createtime issuedat`)
	lastUsedNames = list(`lastused lastusedat lastusedon lastusedate lastusetime lastuse lastseen lastseenat lastaccess lastaccessedat`)
	countNames    = list(`usagecount usecount uses usage hits totaluses timesused`)
	// limiterNames look like the two above, but a rate limiter counts in them.
	limiterNames = list(`requestcount requests lastrequest lastrequestat remaining`)
	// statusNames say in a text whether a key is on, which keytail does not read.
	statusNames = list(`status state keystatus tokenstatus lifecycle`)
)

// noise begins names without changing what they mean.
var noise = list(`accesstoken apikey apitoken api key token access is the`)

// foreign words make a name that of something else than the key.
var foreign = list(`ratelimit refill refresh email password twofactor mfa otp webhook notif cors log encrypt verified previous prev old parent`)

// plainName is the name in lower case without separators.
func plainName(field string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, field)
}

// noMatch is the rank of a name that is not in a list.
const noMatch = -1

// exact returns how far down the list the name of a field is.
func (list names) exact(field string) int {
	plain := plainName(field)
	if at := slices.Index(list, plain); at >= 0 {
		return at
	}
	return slices.Index(list, withoutNoise(plain))
}

// rank is exact, but a name that only ends like one in the list is behind all
// others.
func (list names) rank(field string) int {
	plain := plainName(field)
	if at := list.exact(field); at != noMatch {
		return at
	}
	for at, name := range list {
		if len(name) > len("scope") && strings.HasSuffix(plain, name) && !isForeign(plain) {
			return len(list) + at
		}
	}
	return noMatch
}

func withoutNoise(plain string) string {
	for _, prefix := range noise {
		if rest, found := strings.CutPrefix(plain, prefix); found && rest != "" {
			return rest
		}
	}
	return plain
}

// isForeign reports whether a name says that the field is about something else
// than the key.
func isForeign(plain string) bool {
	return slices.ContainsFunc(foreign, func(word string) bool { return strings.Contains(plain, word) })
}

// isVocabulary reports whether a name consists of words that say what a field is,
// and of nothing else.
func isVocabulary(field string) bool {
	plain := plainName(field)
	if keystore.NameMeansOff(plain) || keystore.NameMeansOn(plain) {
		return true
	}
	return slices.ContainsFunc([]names{
		userNames, callerNames, orgNames, projectNames, scopeNames, networkNames, expiryNames, nameNames,
		metadataNames, prefixNames, createdNames, lastUsedNames, countNames, limiterNames, statusNames,
	}, func(list names) bool { return list.exact(field) != noMatch })
}

// namesHash reports whether a name has a word that hashes are called by.
func namesHash(field string) bool {
	const longest = 20 // bytes: a longer one has room for data
	return len(field) <= longest && hashRank(field) < hashRank("")
}

// hashRank returns how much the name of a field looks like that of a hash of a
// key: less is more.
func hashRank(field string) int {
	plain, rank := plainName(field), 4
	for word, points := range map[string]int{"hash": 2, "digest": 2, "sha": 1, "key": 1, "token": 1, "secret": 1, "index": 1} {
		if strings.Contains(plain, word) {
			rank -= points
		}
	}
	for _, word := range []string{"check", "content", "etag", "fingerprint", "salt"} {
		if strings.Contains(plain, word) {
			rank += 4
		}
	}
	if isForeign(plain) {
		rank += 4
	}
	return rank
}
