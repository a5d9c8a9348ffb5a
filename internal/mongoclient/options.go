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
	// Kept: the driver applies the option.
	Kept Effect = "kept"
	// Overridden: keytail uses its own value, and logs that the option is not
	// used if the two differ.
	Overridden Effect = "overridden"
	// Limited: values within bounds are kept; others are replaced, which is
	// logged.
	Limited Effect = "limited"
	// Refused: keytail does not start, and the error contains the reason.
	Refused Effect = "refused"
	// NoEffect: the driver reads the option and ignores it.
	NoEffect Effect = "no effect"
)

// Option is a row of the table.
type Option struct {
	// Name is the name in MongoDB's documentation. Aliases are its other names.
	Name    string
	Aliases []string
	Effect  Effect
	// Why is a sentence for the documentation.
	Why string
	// same are the values of an overridden option that agree with keytail's
	// own.
	same []string
	// refuse returns why a value is refused, or an empty text. Nil: no value
	// is.
	refuse func(value string) string
}

// OptionTable returns every option that the driver knows.
func OptionTable() []Option {
	return slices.Concat(concernOptions(), poolOptions(), topologyOptions(), plainOptions())
}

// concernOptions are how to read and write. keytail decides that itself.
func concernOptions() []Option {
	return []Option{
		{
			Name: "journal", Effect: Overridden, same: []string{"true"},
			Why: "Keys, heartbeats and the audit are written with `w: majority`, which includes the journal unless the replica set is configured otherwise.",
		},
		{
			Name: "maxStalenessSeconds", Aliases: []string{"maxStaleness"}, Effect: Kept,
			Why: "Which secondaries `--read-preference` may choose, at least 90 s; without that flag it is not used. The driver rejects this option without `readPreference`, and together with `primary`.",
		},
		{
			Name: "readConcernLevel", Effect: Overridden, same: []string{"majority"},
			Why: "keytail reads keys with `majority` (or `linearizable`): with `local`, an answer could depend on a write that is rolled back, and no change stream would open.",
		},
		{
			Name: "readPreference", Effect: Overridden, same: []string{"primary"},
			Why: "The flag `--read-preference` decides which members serve the change stream and scans. What a request waits for is read from the primary: a secondary can be behind by any amount of time.",
		},
		{
			Name: "readPreferenceTags", Effect: Kept,
			Why: "Which members `--read-preference` may choose; without that flag it is not used. The driver rejects this option without `readPreference`, and together with `primary`.",
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
			Why: "Keys, heartbeats and the audit are written with `majority`, because a write acknowledgement must survive an election. `last_used` is written with `1`.",
		},
	}
}

// poolOptions are how many connections there are.
func poolOptions() []Option {
	return []Option{
		{
			Name: "maxPoolSize", Effect: Limited, refuse: checkPoolSize,
			Why: fmt.Sprintf("At most maxPoolSize less %d reads of keys run concurrently; beyond that, a request for a key that is not in the cache gets 503. Default %d; 0 (no limit) counts as %d. Below %d keytail does not start; below %d it logs how many reads are left.",
				reservedConnections, maxPoolSize, maxPoolSize, reservedConnections+1, reservedConnections+lowMaxReads),
		},
		{Name: "minPoolSize", Effect: Kept, Why: "The number of connections that stay open while idle."},
		{Name: "maxConnecting", Effect: Kept, Why: "How many connections are opened concurrently."},
		{Name: "maxIdleTimeMS", Effect: Kept, Why: fmt.Sprintf("When an idle connection is closed. Default %v. The connection of the change stream is never idle for longer than a second.", maxIdleTime)},
	}
}

// topologyOptions are which servers are used, and how long to wait.
func topologyOptions() []Option {
	return []Option{
		{
			Name: "connect", Effect: Refused,
			Why: "`connect=direct` means `directConnection=true` and is treated like it. `automatic` is kept.",
		},
		{
			Name: "directConnection", Effect: Refused,
			Why: "`true` is kept for a replica set of one member. With a larger set keytail does not start: after an election it would stay connected to a member that is no longer the primary.",
		},
		{
			Name: "loadBalanced", Effect: Refused, refuse: checkLoadBalanced,
			Why: "With `true`, the driver sees a load balancer: it cannot choose the primary, and sees no replica set whose majority acknowledges writes.",
		},
		{
			Name: "replicaSet", Effect: Kept,
			Why: "If the set has another name, keytail does not start, and the error contains the real name.",
		},
		{
			Name: "timeoutMS", Effect: Refused, refuse: func(string) string {
				return "--mongodb-uri sets timeoutMS, which would end the change stream again and again: remove it"
			},
			Why: "It would end the change stream again and again. keytail has a deadline for every other command.",
		},
		limitRow("connectTimeoutMS", connectTimeouts, "How long a new connection may take."),
		limitRow("heartbeatFrequencyMS", heartbeatIntervals, "How often the driver checks the state of a server; until then it does not use an unknown server.", "heartbeatIntervalMS"),
		limitRow("serverSelectionTimeoutMS", selectionTimeouts, "How long the driver waits for a primary. A shorter time fails during the first connection, with a longer time a wrong address makes the start look as if it hangs."),
		{
			Name: "serverMonitoringMode", Effect: Kept,
			Why: "With `poll`, the driver notices an election up to heartbeatFrequencyMS later.",
		},
		{
			Name: "socketTimeoutMS", Effect: NoEffect,
			Why: "keytail has a deadline for every command.",
		},
	}
}

// plainOptions do not affect keytail's guarantees.
func plainOptions() []Option {
	return []Option{
		{Name: "appName", Effect: Kept, Why: "The name of keytail in the server's log. Default `keytail`."},
		{Name: "authMechanism", Effect: Kept, Why: "How to log in."},
		{Name: "authMechanismProperties", Effect: Kept, Why: "How to log in."},
		{Name: "authSource", Effect: Kept, Why: "The database that stores the user."},
		{Name: "compressors", Effect: Kept, Why: "Compression between keytail and the server."},
		{Name: "zlibCompressionLevel", Effect: Kept, Why: "Compression between keytail and the server."},
		{Name: "zstdCompressionLevel", Effect: Kept, Why: "Compression between keytail and the server."},
		{Name: "localThresholdMS", Effect: Kept, Why: "How much slower than the nearest member another one may be that `--read-preference` chooses. On a sharded cluster it chooses between mongos processes."},
		{Name: "maxAdaptiveRetries", Effect: Kept, Why: "How often the driver repeats a command that an overloaded server has rejected."},
		{Name: "enableOverloadRetargeting", Effect: Kept, Why: "On which server the driver repeats it. There is only one primary."},
		{Name: "srvMaxHosts", Effect: Kept, Why: "How many hosts of a DNS record are used (mongodb+srv). The driver rejects it together with replicaSet."},
		{Name: "srvServiceName", Effect: Kept, Why: "The name of the DNS record (mongodb+srv)."},
		{Name: "tls", Aliases: []string{"ssl"}, Effect: Kept, Why: "Encryption between keytail and the server."},
		{Name: "tlsCAFile", Aliases: []string{"sslCertificateAuthorityFile"}, Effect: Kept, Why: "The certificate authorities that may sign the server's certificate."},
		{Name: "tlsCertificateFile", Effect: Kept, Why: "keytail's certificate."},
		{Name: "tlsPrivateKeyFile", Effect: Kept, Why: "keytail's private key."},
		{Name: "tlsCertificateKeyFile", Aliases: []string{"sslClientCertificateKeyFile"}, Effect: Kept, Why: "keytail's certificate and private key in one file."},
		{Name: "tlsCertificateKeyFilePassword", Aliases: []string{"sslClientCertificateKeyPassword"}, Effect: Kept, Why: "The password of that file."},
		{Name: "tlsDisableCertificateRevocationCheck", Effect: Kept, Why: "Whether certificates are checked for revocation."},
		{Name: "tlsDisableOCSPEndpointCheck", Effect: Kept, Why: "Whether certificates are checked for revocation."},
		{
			Name: "tlsInsecure", Aliases: []string{"sslInsecure"}, Effect: Kept,
			Why: "`true` is kept and logged: anyone who can redirect the connection can impersonate the database and make any key valid.",
		},
	}
}

func limitRow(name string, b bounds, what string, aliases ...string) Option {
	return Option{
		Name: name, Aliases: aliases, Effect: Limited,
		Why: fmt.Sprintf("%s From %v to %v; another value, including 0, is replaced by the default, %v.", what, b.min, b.max, b.fallback),
	}
}

func checkPoolSize(value string) string {
	// The driver rejects a value that is not a number.
	if n, err := strconv.ParseUint(value, 10, 64); err == nil && n > 0 && n <= reservedConnections {
		return fmt.Sprintf("--mongodb-uri sets maxPoolSize to %d: keytail needs at least %d connections", n, reservedConnections+1)
	}
	return ""
}

func checkLoadBalanced(value string) string {
	if value != "true" {
		return ""
	}
	return "--mongodb-uri sets loadBalanced=true, but behind a load balancer the driver cannot see which server is the primary: remove it, and list the members of the replica set"
}

// findOption returns the row of an option by any of its names.
func findOption(table []Option, name string) (Option, bool) {
	for _, o := range table {
		if strings.EqualFold(o.Name, name) || slices.ContainsFunc(o.Aliases, func(alias string) bool { return strings.EqualFold(alias, name) }) {
			return o, true
		}
	}
	return Option{}, false
}

// Markdown returns the table of docs/mongodb-uri.md.
func Markdown() string {
	table := OptionTable()
	slices.SortFunc(table, func(a, b Option) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	var b strings.Builder
	b.WriteString("| option | what keytail does | why |\n|---|---|---|\n")
	for _, o := range table {
		names := "`" + strings.Join(append([]string{o.Name}, o.Aliases...), "`, `") + "`"
		fmt.Fprintf(&b, "| %s | %s | %s |\n", names, o.Effect, o.Why)
	}
	return b.String()
}
