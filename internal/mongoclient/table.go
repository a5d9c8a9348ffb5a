package mongoclient

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Effect is what keytail does with an option of a connection string.
type Effect string

// The effects.
const (
	// Kept: the driver does what the option says.
	Kept Effect = "kept"
	// Overridden: keytail uses its own value, and logs that the option's is not
	// used where the two differ.
	Overridden Effect = "overridden"
	// Limited: values within bounds are kept; others are replaced, and that is
	// logged.
	Limited Effect = "limited"
	// Refused: keytail does not start, and says why.
	Refused Effect = "refused"
	// Without: the driver reads the option and does nothing.
	Without Effect = "no effect"
)

// Option is a row of the table.
type Option struct {
	// Name is how MongoDB's documentation writes it. Aliases are other names of it.
	Name    string
	Aliases []string
	Effect  Effect
	// Why is a sentence for the documentation.
	Why string
	// same are the values that agree with keytail's own, of an option that is
	// overridden.
	same []string
	// refuse is why a value is refused, or empty. Nil: none is.
	refuse func(value string) string
}

// Table is every option that the driver knows, in alphabetical order.
func Table() []Option {
	return slices.Concat(concernOptions(), poolOptions(), topologyOptions(), plainOptions())
}

// concernOptions say how is read and written, which is keytail's own business.
func concernOptions() []Option {
	return []Option{
		{
			Name: "journal", Effect: Overridden, same: []string{"true"},
			Why: "Keys, heartbeats and the audit are written with `w: majority`, which includes the journal by the replica set's own setting.",
		},
		{
			Name: "maxStalenessSeconds", Aliases: []string{"maxStaleness"}, Effect: Overridden,
			Why: "Only the primary is read. The driver refuses it without `readPreference`, and beside `primary`.",
		},
		{
			Name: "readConcernLevel", Effect: Overridden, same: []string{"majority"},
			Why: "Keys are read with `majority` (or `linearizable`): with `local`, an answer could rest on a write that is rolled back, and no change stream would open.",
		},
		{
			Name: "readPreference", Effect: Overridden, same: []string{"primary"},
			Why: "Only the primary is read: a secondary can be behind by any time.",
		},
		{
			Name: "readPreferenceTags", Effect: Overridden,
			Why: "Only the primary is read. The driver refuses it without `readPreference`, and beside `primary`.",
		},
		{
			Name: "retryReads", Effect: Overridden, same: []string{"true"},
			Why: "A read of a key can be repeated safely; without that, each election answers requests with 503.",
		},
		{
			Name: "retryWrites", Effect: Overridden, same: []string{"true"},
			Why: "Without it, each election leaves the outcome of an administrator's write unknown.",
		},
		{
			Name: "w", Effect: Overridden, same: []string{"majority"},
			Why: "Keys, heartbeats and the audit are written with `majority`, because a receipt must outlive an election. `last_used` is written with `1`.",
		},
	}
}

// poolOptions say how many connections there are.
func poolOptions() []Option {
	return []Option{
		{
			Name: "maxPoolSize", Effect: Limited, refuse: smallPool,
			Why: fmt.Sprintf("At most maxPoolSize less %d reads of keys run at once; past that, a key that is not in the cache is answered 503. Default %d; 0 (no limit) counts as %d. Below %d keytail does not start; below %d it logs how many reads are left.",
				connectionsBesides, maxPoolSize, maxPoolSize, connectionsBesides+1, connectionsBesides+fewReads),
		},
		{Name: "minPoolSize", Effect: Kept, Why: "Connections that are kept open while idle."},
		{Name: "maxConnecting", Effect: Kept, Why: "How many connections are opened at once."},
		{Name: "maxIdleTimeMS", Effect: Kept, Why: "The connection of the change stream is never idle for longer than a second."},
	}
}

// topologyOptions say which servers are talked to, and how long is waited.
func topologyOptions() []Option {
	return []Option{
		{
			Name: "connect", Effect: Refused,
			Why: "`connect=direct` is `directConnection=true`, and judged like it. `automatic` is kept.",
		},
		{
			Name: "directConnection", Effect: Refused,
			Why: "`true` is kept for a set of one member. For a larger set keytail does not start: after an election it would stay with a member that is no longer the primary.",
		},
		{
			Name: "loadBalanced", Effect: Refused, refuse: loadBalanced,
			Why: "`true`: behind a load balancer there is no primary to choose, and no replica set whose majority acknowledges.",
		},
		{
			Name: "replicaSet", Effect: Kept,
			Why: "If the set has another name, keytail does not start, and says the real one.",
		},
		{
			Name: "timeoutMS", Effect: Refused, refuse: func(string) string {
				return "--mongodb-uri sets timeoutMS, which would end the change stream over and over; take it out"
			},
			Why: "It would end the change stream over and over. keytail has a deadline for every other command.",
		},
		limitRow("connectTimeoutMS", connectTimeouts, "How long a new connection may take."),
		limitRow("heartbeatFrequencyMS", serverChecks, "How often the driver asks a server for its state; an unknown server is not used until then.", "heartbeatIntervalMS"),
		limitRow("serverSelectionTimeoutMS", selections, "How long is waited for a primary. A shorter one fails during the first connection, a longer one makes a wrong address look like a hang."),
		{
			Name: "serverMonitoringMode", Effect: Kept,
			Why: "With `poll`, an election is noticed up to heartbeatFrequencyMS later.",
		},
		{
			Name: "socketTimeoutMS", Effect: Without,
			Why: "keytail has a deadline for every command.",
		},
	}
}

// plainOptions change nothing about what keytail promises.
func plainOptions() []Option {
	return []Option{
		{Name: "appName", Effect: Kept, Why: "How the server's log calls keytail. Default `keytail`."},
		{Name: "authMechanism", Effect: Kept, Why: "How to log in."},
		{Name: "authMechanismProperties", Effect: Kept, Why: "How to log in."},
		{Name: "authSource", Effect: Kept, Why: "The database that knows the user."},
		{Name: "compressors", Effect: Kept, Why: "Compression between keytail and the server."},
		{Name: "zlibCompressionLevel", Effect: Kept, Why: "Compression between keytail and the server."},
		{Name: "zstdCompressionLevel", Effect: Kept, Why: "Compression between keytail and the server."},
		{Name: "localThresholdMS", Effect: Without, Why: "Only the primary is used. On a sharded cluster it chooses between mongos processes."},
		{Name: "maxAdaptiveRetries", Effect: Kept, Why: "How often the driver repeats a command that an overloaded server has refused."},
		{Name: "enableOverloadRetargeting", Effect: Kept, Why: "Where the driver repeats it. There is one primary."},
		{Name: "srvMaxHosts", Effect: Kept, Why: "How many hosts of a DNS record are used (mongodb+srv). The driver refuses it beside replicaSet."},
		{Name: "srvServiceName", Effect: Kept, Why: "The name of the DNS record (mongodb+srv)."},
		{Name: "tls", Aliases: []string{"ssl"}, Effect: Kept, Why: "Encryption between keytail and the server."},
		{Name: "tlsCAFile", Aliases: []string{"sslCertificateAuthorityFile"}, Effect: Kept, Why: "Who may certify the server."},
		{Name: "tlsCertificateFile", Effect: Kept, Why: "keytail's certificate."},
		{Name: "tlsPrivateKeyFile", Effect: Kept, Why: "keytail's private key."},
		{Name: "tlsCertificateKeyFile", Aliases: []string{"sslClientCertificateKeyFile"}, Effect: Kept, Why: "keytail's certificate and key in one file."},
		{Name: "tlsCertificateKeyFilePassword", Aliases: []string{"sslClientCertificateKeyPassword"}, Effect: Kept, Why: "The password of that file."},
		{Name: "tlsDisableCertificateRevocationCheck", Effect: Kept, Why: "Whether certificates are checked for revocation."},
		{Name: "tlsDisableOCSPEndpointCheck", Effect: Kept, Why: "Whether certificates are checked for revocation."},
		{
			Name: "tlsInsecure", Aliases: []string{"sslInsecure"}, Effect: Kept,
			Why: "`true` is kept and logged: whoever can redirect the connection can pretend to be the database, and make any key valid.",
		},
	}
}

func limitRow(name string, b bounds, what string, aliases ...string) Option {
	return Option{
		Name: name, Aliases: aliases, Effect: Limited,
		Why: fmt.Sprintf("%s From %v to %v; another value, 0 too, is replaced by the default, %v.", what, b.least, b.most, b.otherwise),
	}
}

func smallPool(value string) string {
	// What is no number is the driver's to refuse.
	if n, err := strconv.ParseUint(value, 10, 64); err == nil && n > 0 && n <= connectionsBesides {
		return fmt.Sprintf("--mongodb-uri sets maxPoolSize to %d: keytail needs at least %d connections", n, connectionsBesides+1)
	}
	return ""
}

func loadBalanced(value string) string {
	if value != "true" {
		return ""
	}
	return "--mongodb-uri sets loadBalanced=true, and behind a load balancer nobody can tell which server is the primary: take it out, and name the members of the replica set"
}

// find is the row of an option by any of its names.
func find(table []Option, name string) (Option, bool) {
	for _, o := range table {
		if strings.EqualFold(o.Name, name) || slices.ContainsFunc(o.Aliases, func(alias string) bool { return strings.EqualFold(alias, name) }) {
			return o, true
		}
	}
	return Option{}, false
}

// Markdown is the table of docs/mongodb-uri.md.
func Markdown() string {
	table := Table()
	slices.SortFunc(table, func(a, b Option) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	var b strings.Builder
	b.WriteString("| option | what keytail does | why |\n|---|---|---|\n")
	for _, o := range table {
		names := "`" + strings.Join(append([]string{o.Name}, o.Aliases...), "`, `") + "`"
		fmt.Fprintf(&b, "| %s | %s | %s |\n", names, o.Effect, o.Why)
	}
	return b.String()
}
