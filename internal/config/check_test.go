package config

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	const server = "--mongodb-uri=mongodb://127.0.0.1/keys"
	for name, test := range map[string]struct {
		args []string
		want []string // empty: valid
	}{
		"a server":                 {[]string{server}, nil},
		"dev":                      {[]string{"--dev"}, nil},
		"srv":                      {[]string{"--mongodb-uri=mongodb+srv://u:p@db.example.org/keys?w=majority"}, nil},
		"every interface":          {[]string{server, "--addr=:8080", "--ops-addr=0.0.0.0:9090"}, nil},
		"two free ports":           {[]string{server, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"}, nil},
		"an hour":                  {[]string{server, "--max-stale=1h", "--drain-delay=0"}, nil},
		"nothing":                  {nil, []string{"--dev"}},
		"both":                     {[]string{server, "--dev"}, []string{"exclude each other"}},
		"no database":              {[]string{"--mongodb-uri=mongodb://127.0.0.1"}, []string{"no database is given"}},
		"bad database":             {[]string{server, "--database=a.b"}, []string{"--database must have"}},
		"long database":            {[]string{server, "--database=" + strings.Repeat("a", 64)}, []string{"at most 63 bytes"}},
		"admin":                    {[]string{server, "--database=admin"}, []string{"--database cannot be admin"}},
		"no collection":            {[]string{server, "--collection="}, []string{"--collection must not be empty"}},
		"bad collection":           {[]string{server, "--collection=system.users"}, []string{"must not begin with 'system.'"}},
		"keytail's collection":     {[]string{server, "--collection=keytail_heartbeats"}, []string{"it is one of keytail's own collections"}},
		"in another database":      {[]string{server, "--collection=keytail_heartbeats", "--stream-scope=collection", "--state-database=other"}, nil},
		"bad scope":                {[]string{server, "--stream-scope=cluster"}, []string{"--stream-scope must be one of database, collection"}},
		"state elsewhere":          {[]string{server, "--state-database=other"}, []string{"only with --stream-scope collection"}},
		"state here":               {[]string{server, "--state-database=app", "--database=app"}, nil},
		"state elsewhere, fits":    {[]string{server, "--stream-scope=collection", "--state-database=other"}, nil},
		"state of the server":      {[]string{server, "--stream-scope=collection", "--state-database=admin"}, []string{"--state-database cannot be admin"}},
		"bad state":                {[]string{server, "--stream-scope=collection", "--state-database=a.b"}, []string{"--state-database must have"}},
		"long collection":          {[]string{server, "--collection=" + strings.Repeat("a", 251)}, []string{"at most 254 bytes"}},
		"not a URI":                {[]string{"--mongodb-uri=db/keys"}, []string{"must begin with mongodb://"}},
		"no port":                  {[]string{server, "--addr=127.0.0.1"}, []string{"--addr must be host:port"}},
		"bad port":                 {[]string{server, "--ops-addr=127.0.0.1:65536"}, []string{"--ops-addr must be host:port"}},
		"same addresses":           {[]string{server, "--ops-addr=127.0.0.1:8080"}, []string{"are the same"}},
		"admin off":                {[]string{server, "--admin-addr=0.0.0.0:9091"}, nil},
		"admin on":                 {[]string{server, "--admin-token-file=f"}, nil},
		"admin with TLS":           {[]string{server, "--admin-token-file=f", "--admin-addr=:9091", "--admin-tls-cert-file=c", "--admin-tls-key-file=k"}, nil},
		"admin in the clear":       {[]string{server, "--admin-token-file=f", "--admin-addr=:9091"}, []string{"--admin-addr is reachable from other machines"}},
		"dev admin in the clear":   {[]string{"--dev", "--admin-addr=:9091"}, []string{"--admin-addr is reachable from other machines"}},
		"dev admin with TLS":       {[]string{"--dev", "--admin-tls-cert-file=c", "--admin-tls-key-file=k"}, nil},
		"notice too short":         {[]string{server, "--expiry-notice=59m"}, []string{"--expiry-notice must be between 1h and 8760h"}},
		"notice too long":          {[]string{server, "--expiry-notice=8761h"}, []string{"--expiry-notice must be between 1h and 8760h"}},
		"admin as ops":             {[]string{server, "--admin-token-file=f", "--admin-addr=127.0.0.1:9090"}, []string{"--ops-addr and --admin-addr are the same"}},
		"gRPC":                     {[]string{server, "--grpc-addr=:8081", "--hide-credentials", "--grpc-tls-cert-file=c", "--grpc-tls-key-file=k", "--grpc-tls-client-ca-file=a"}, nil},
		"gRPC TLS, no listener":    {[]string{server, "--grpc-tls-cert-file=c", "--grpc-tls-key-file=k"}, []string{"the gRPC listener needs --grpc-addr"}},
		"gRPC, half a pair":        {[]string{server, "--grpc-addr=:8081", "--grpc-tls-cert-file=c"}, []string{"--grpc-tls-cert-file is given without --grpc-tls-key-file"}},
		"gRPC, no port":            {[]string{server, "--grpc-addr=localhost"}, []string{"--grpc-addr"}},
		"gRPC and public the same": {[]string{server, "--addr=:8081", "--grpc-addr=:8081"}, []string{"--addr and --grpc-addr are the same"}},
		"sockets":                  {[]string{server, "--addr=unix:/run/keytail/a.sock", "--grpc-addr=unix:/run/keytail/b.sock", "--unix-socket-mode=666"}, nil},
		"one socket for two":       {[]string{server, "--addr=unix:/a.sock", "--grpc-addr=unix:/a.sock"}, []string{"--addr and --grpc-addr are the same"}},
		"a relative socket":        {[]string{server, "--addr=unix:a.sock"}, []string{"--addr must be unix: and an absolute path"}},
		"a socket without a path":  {[]string{server, "--grpc-addr=unix:"}, []string{"--grpc-addr must be unix: and an absolute path"}},
		"a long socket":            {[]string{server, "--addr=unix:/" + strings.Repeat("a", 103)}, []string{"--addr: the path of a socket has at most 103 bytes, not 104"}},
		"operations on a socket":   {[]string{server, "--ops-addr=unix:/a.sock"}, []string{"--ops-addr must be host:port"}},
		"admin on a socket":        {[]string{server, "--admin-token-file=f", "--admin-addr=unix:/a.sock"}, []string{"--admin-addr must be host:port"}},
		"dev on a socket":          {[]string{"--dev", "--addr=unix:/a.sock"}, []string{"--addr must be host:port with --dev"}},
		"no mode of sockets":       {[]string{server, "--unix-socket-mode=rw"}, []string{"--unix-socket-mode must be octal digits"}},
		"another mode of sockets":  {[]string{server, "--unix-socket-mode=4660"}, []string{"--unix-socket-mode must be octal digits"}},
		"hides without gRPC":       {[]string{server, "--hide-credentials"}, []string{"--hide-credentials needs the gRPC listener"}},
		"admin TLS, no tokens":     {[]string{server, "--admin-tls-cert-file=c", "--admin-tls-key-file=k"}, []string{"the admin listener needs"}},
		"certificate, no key":      {[]string{server, "--tls-cert-file=c"}, []string{"--tls-cert-file is given without --tls-key-file"}},
		"key, no certificate":      {[]string{server, "--ops-tls-key-file=c"}, []string{"--ops-tls-key-file is given without --ops-tls-cert-file"}},
		"authority alone":          {[]string{server, "--tls-client-ca-file=c"}, []string{"--tls-client-ca-file is given without --tls-cert-file"}},
		"one file of tokens":       {[]string{server, "--caller-token-file=f", "--admin-token-file=f"}, []string{"every caller would be an administrator"}},
		"connections":              {[]string{server, "--max-connections=16"}, nil},
		"too few connections":      {[]string{server, "--max-connections=15"}, []string{"--max-connections must be 0, or between 16 and 1000000, not 15"}},
		"connections below 0":      {[]string{server, "--max-connections=-1"}, []string{"--max-connections must be 0, or"}},
		"reflection without gRPC":  {[]string{server, "--grpc-reflection"}, []string{"--grpc-reflection is given, but the gRPC listener needs --grpc-addr"}},
		"callers of nothing":       {[]string{server, "--forward-auth=false", "--auth-caller-networks=10.0.0.0/8"}, []string{"--forward-auth=false lets nobody call forward-auth"}},
		"default scopes":           {[]string{server, "--default-scopes=a:read,b:*"}, nil},
		"bad default scope":        {[]string{server, "--default-scopes=a,b c"}, []string{"--default-scopes, scope 2: a scope has no white space"}},
		"password file":            {[]string{"--mongodb-uri=mongodb://u@127.0.0.1/keys", "--mongodb-password-file=f"}, nil},
		"password file, no user":   {[]string{server, "--mongodb-password-file=f"}, []string{"needs a user in --mongodb-uri"}},
		"two passwords":            {[]string{"--mongodb-uri=mongodb://u:p@127.0.0.1/keys", "--mongodb-password-file=f"}, []string{"--mongodb-uri has a password"}},
		"password and X.509":       {[]string{"--mongodb-uri=mongodb://u@127.0.0.1/keys?authMechanism=MONGODB-X509", "--mongodb-password-file=f"}, []string{"which has no password"}},
		"password and dev":         {[]string{"--dev", "--mongodb-password-file=f"}, []string{"the in-memory MongoDB has no passwords"}},
		"stale 0":                  {[]string{server, "--max-stale=0s"}, []string{"--max-stale must be at least 30ms"}},
		"stale below 0":            {[]string{server, "--max-stale=-1s"}, []string{"--max-stale must be at least 30ms"}},
		"stale over an hour":       {[]string{server, "--max-stale=1h1ns"}, []string{"at most 1h"}},
		"stale below 3 beats":      {[]string{server, "--max-stale=29ms"}, []string{"--max-stale must be at least 30ms"}},
		"stale short":              {[]string{server, "--max-stale=30ms"}, nil},
		"heartbeat fits":           {[]string{server, "--max-stale=3s", "--heartbeat-interval=1s"}, nil},
		"heartbeat too seldom":     {[]string{server, "--max-stale=3s", "--heartbeat-interval=1001ms"}, []string{"--heartbeat-interval must be between 10ms and a third of max-stale (1s), not 1.001s"}},
		"heartbeat of the fleet":   {[]string{server, "--max-stale=30ms", "--heartbeat-interval=0s"}, nil},
		"heartbeat below 0":        {[]string{server, "--heartbeat-interval=-1s"}, []string{"--heartbeat-interval must be between 10ms"}},
		"usage of the fleet":       {[]string{server, "--usage-interval=0s"}, nil},
		"usage too often":          {[]string{server, "--usage-interval=9s"}, []string{"--usage-interval must be between 10s and 24h, or 0"}},
		"usage too seldom":         {[]string{server, "--usage-interval=25h"}, []string{"--usage-interval must be between 10s and 24h, or 0"}},
		"reads from anywhere":      {[]string{server, "--read-preference=nearest"}, nil},
		"reads from nowhere":       {[]string{server, "--read-preference=fastest"}, []string{"--read-preference must be one of primary, primaryPreferred"}},
		"drain below 0":            {[]string{server, "--drain-delay=-1s"}, []string{"--drain-delay"}},
		"no cache":                 {[]string{server, "--cache-size=0"}, []string{"--cache-size must be between"}},
		"prefix":                   {[]string{server, "--key-prefix=K_T"}, []string{"--key-prefix"}},
		"level":                    {[]string{server, "--log-level=loud"}, []string{`--log-level must be one of debug, info, warn, error, not "loud"`}},
		"format":                   {[]string{server, "--log-format="}, []string{"--log-format must be one of json, console, not nothing"}},
		"dev server for everyone":  {[]string{"--dev", "--dev-mongodb-addr=0.0.0.0:27127"}, []string{"must be a loopback address"}},
		"three mistakes":           {[]string{server, "--max-stale=2h", "--addr=x", "--log-level=x"}, []string{"--max-stale", "--addr", "--log-level"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := mustLoad(t, test.args...)
			err := c.Check()
			if len(test.want) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantAll(t, err, test.want...)
		})
	}
}

func TestNeitherServerNorDevNamesBoth(t *testing.T) {
	c, _ := mustLoad(t)
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "--mongodb-uri (KEYTAIL_MONGODB_URI)") || !strings.Contains(err.Error(), "--dev") {
		t.Errorf("without a server: %v", err)
	}
}

func TestDevIsRefusedInProduction(t *testing.T) {
	for _, variable := range []string{"KEYTAIL_ENV", "ENVIRONMENT"} {
		for _, value := range []string{"production", "Production", " production "} {
			t.Run(variable+"="+value, func(t *testing.T) {
				t.Setenv(variable, value)
				c, _ := mustLoad(t, "--dev")
				wantAll(t, c.Check(), "--dev is refused because "+variable+" is production")
			})
		}
	}
	t.Setenv("ENVIRONMENT", "staging")
	c, _ := mustLoad(t, "--dev")
	if err := c.Check(); err != nil {
		t.Errorf("in staging: %v", err)
	}
}

// TestSecretsOfTheURIAreNeverShown covers URIs that keytail or the driver would
// misread.
func TestSecretsOfTheURIAreNeverShown(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://root:hunter2@x@db/keys":  "not escaped",
		"mongodb://root:hunter2/x@db/keys":  "not escaped",
		"mongodb://root:hunter2:x@db/keys":  "not escaped",
		"mongodb://root:hunter2%zz@db/keys": "not escaped",
		"mongodb://root:hunter2?x@db/keys":  "not escaped",
		"mongodb://db/keys?x=1@hunter2":     "not escaped",
		"mongo://root:hunter2@db/keys":      "must begin with mongodb://",
		"root:hunter2@db/keys":              "must begin with mongodb://",
		"mongodb://r:hunter2@db/a.b":        "--database must have",
	} {
		c, _ := mustLoad(t, "--mongodb-uri", uri)
		err := c.Check()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", uri, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the secret: %v", uri, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"to mongodb://u:p@a:1,b:2/k failed":  "to mongodb://…@a:1,b:2/k failed",
		"mongodb+srv://u:p@q@host/k":         "mongodb+srv://…@host/k",
		"mongodb://host/k":                   "mongodb://host/k",
		"mongodb://u:p@a and mongodb://v@b!": "mongodb://…@a and mongodb://…@b!",
	} {
		if got := Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "[::ffff:127.0.0.1]:1": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "example.org:1": false, "127.0.0.1": false,
	} {
		if got := Loopback(addr); got != want {
			t.Errorf("Loopback(%q) = %v", addr, got)
		}
	}
}
