package mongoclient

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

func settings(t *testing.T, uri string) *Settings {
	t.Helper()
	s, err := ForURI(uri)
	if err != nil {
		t.Fatalf("%s: %v", uri, err)
	}
	return s
}

// noted reports whether there is a note about the option.
func (s *Settings) noted(option string) bool {
	return slices.ContainsFunc(s.Notes, func(note string) bool { return strings.Contains(note, option) })
}

// TestEveryOptionOfTheDriverHasARow, and each row has an option that the driver
// knows: a new version of the driver may add options that break guarantees.
func TestEveryOptionOfTheDriverHasARow(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "go.mongodb.org/mongo-driver/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "x/mongo/driver/connstring/connstring.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, parser, found := strings.Cut(string(source), "switch lowerKey {\n")
	if !found {
		t.Fatal("the driver's parser of options is not where it was")
	}
	parser, _, _ = strings.Cut(parser, "\n\t\tdefault:\n")
	known := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^\t\tcase (".*"):$`).FindAllStringSubmatch(parser, -1) {
		for name := range strings.SplitSeq(line[1], ", ") {
			known[strings.Trim(name, `"`)] = true
		}
	}
	if len(known) < 40 {
		t.Fatalf("only %d options were found", len(known))
	}
	table := OptionTable()
	for name := range known {
		if _, found := findOption(table, name); !found {
			t.Errorf("the driver's option %q has no row", name)
		}
	}
	for _, o := range table {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			if !known[strings.ToLower(name)] {
				t.Errorf("the driver does not know %q", name)
			}
		}
	}
}

// TestEachOption has a case for each row of the table.
func TestEachOption(t *testing.T) {
	cases := map[string]struct {
		// query contains the option with a relevant value.
		query string
		// is checks the effect of an option that is not refused.
		is func(s *Settings) bool
		// noted means that the option is logged.
		noted bool
		// refusal is a part of the error.
		refusal string
	}{
		"journal":             {"journal=false", func(s *Settings) bool { return s.Options.WriteConcern.Journal == nil }, true, ""},
		"w":                   {"w=1", func(s *Settings) bool { return s.Options.WriteConcern.W == "majority" }, true, ""},
		"readConcernLevel":    {"readConcernLevel=local", func(s *Settings) bool { return s.Options.ReadConcern.Level == "majority" }, true, ""},
		"readPreference":      {"readPreference=secondaryPreferred", ofPrimary, true, ""},
		"readPreferenceTags":  {"readPreference=nearest&readPreferenceTags=dc:east", ofPrimary, false, ""}, // TestReadPreference
		"maxStalenessSeconds": {"readPreference=secondary&maxStalenessSeconds=120", ofPrimary, false, ""},  // TestReadPreference
		"retryReads":          {"retryReads=false", func(s *Settings) bool { return *s.Options.RetryReads }, true, ""},
		"retryWrites":         {"retryWrites=false", func(s *Settings) bool { return *s.Options.RetryWrites }, true, ""},

		"maxPoolSize":   {"maxPoolSize=8", nil, false, "at least 9 connections"},
		"minPoolSize":   {"minPoolSize=7", func(s *Settings) bool { return *s.Options.MinPoolSize == 7 }, false, ""},
		"maxConnecting": {"maxConnecting=7", func(s *Settings) bool { return *s.Options.MaxConnecting == 7 }, false, ""},
		"maxIdleTimeMS": {"maxIdleTimeMS=7000", func(s *Settings) bool { return *s.Options.MaxConnIdleTime == 7*time.Second }, false, ""},

		"connect":                  {"connect=direct", func(s *Settings) bool { return *s.Options.Direct }, false, ""},        // TestADirectConnection
		"directConnection":         {"directConnection=true", func(s *Settings) bool { return *s.Options.Direct }, false, ""}, // TestADirectConnection
		"loadBalanced":             {"loadBalanced=true", nil, false, "cannot see which server is the primary"},
		"replicaSet":               {"replicaSet=rs7", func(s *Settings) bool { return *s.Options.ReplicaSet == "rs7" }, false, ""}, // TestAWrongSetName
		"timeoutMS":                {"timeoutMS=500", nil, false, "would end the change stream"},
		"connectTimeoutMS":         {"connectTimeoutMS=0", func(s *Settings) bool { return *s.Options.ConnectTimeout == 3*time.Second }, true, ""},
		"heartbeatFrequencyMS":     {"heartbeatFrequencyMS=60000", func(s *Settings) bool { return *s.Options.HeartbeatInterval == 2*time.Second }, true, ""},
		"serverSelectionTimeoutMS": {"serverSelectionTimeoutMS=1", func(s *Settings) bool { return *s.Options.ServerSelectionTimeout == 5*time.Second }, true, ""},
		"serverMonitoringMode":     {"serverMonitoringMode=poll", func(*Settings) bool { return true }, false, ""},
		"socketTimeoutMS":          {"socketTimeoutMS=1", func(*Settings) bool { return true }, true, ""},

		"appName":                   {"appName=x", func(s *Settings) bool { return *s.Options.AppName == "x" }, false, ""},
		"authMechanism":             {"authMechanism=SCRAM-SHA-256", func(s *Settings) bool { return s.Options.Auth.AuthMechanism == "SCRAM-SHA-256" }, false, ""},
		"authMechanismProperties":   {"authMechanism=GSSAPI&authSource=$external&authMechanismProperties=SERVICE_NAME:x", func(s *Settings) bool { return s.Options.Auth.AuthMechanismProperties["SERVICE_NAME"] == "x" }, false, ""},
		"authSource":                {"authSource=admin", func(s *Settings) bool { return s.Options.Auth.AuthSource == "admin" }, false, ""},
		"compressors":               {"compressors=snappy", func(s *Settings) bool { return slices.Equal(s.Options.Compressors, []string{"snappy"}) }, false, ""},
		"zlibCompressionLevel":      {"compressors=zlib&zlibCompressionLevel=3", func(s *Settings) bool { return *s.Options.ZlibLevel == 3 }, false, ""},
		"zstdCompressionLevel":      {"compressors=zstd&zstdCompressionLevel=3", func(s *Settings) bool { return *s.Options.ZstdLevel == 3 }, false, ""},
		"localThresholdMS":          {"localThresholdMS=1", func(s *Settings) bool { return *s.Options.LocalThreshold == time.Millisecond }, false, ""},
		"maxAdaptiveRetries":        {"maxAdaptiveRetries=1", func(s *Settings) bool { return *s.Options.MaxAdaptiveRetries == 1 }, false, ""},
		"enableOverloadRetargeting": {"enableOverloadRetargeting=true", func(s *Settings) bool { return *s.Options.EnableOverloadRetargeting }, false, ""},

		"tls":                                  {"tls=true", func(s *Settings) bool { return s.Options.TLSConfig != nil }, false, ""},
		"tlsInsecure":                          {"tls=true&tlsInsecure=true", func(s *Settings) bool { return s.Options.TLSConfig.InsecureSkipVerify }, true, ""},
		"tlsDisableCertificateRevocationCheck": {"tls=true&tlsDisableCertificateRevocationCheck=true", func(s *Settings) bool { return *s.Options.DisableCertificateRevocationCheck }, false, ""},
		"tlsDisableOCSPEndpointCheck":          {"tls=true&tlsDisableOCSPEndpointCheck=true", func(s *Settings) bool { return *s.Options.DisableOCSPEndpointCheck }, false, ""},
		// Options that name files or records are kept: the driver's own errors
		// show that it has read them.
		"tlsCAFile":                     {"tls=true&tlsCAFile=/none", nil, false, "cannot be used"},
		"tlsCertificateFile":            {"tls=true&tlsCertificateFile=/none&tlsPrivateKeyFile=/none", nil, false, "cannot be used"},
		"tlsPrivateKeyFile":             {"tls=true&tlsCertificateFile=/none&tlsPrivateKeyFile=/none", nil, false, "cannot be used"},
		"tlsCertificateKeyFile":         {"tls=true&tlsCertificateKeyFile=/none", nil, false, "cannot be used"},
		"tlsCertificateKeyFilePassword": {"tls=true&tlsCertificateKeyFile=/none&tlsCertificateKeyFilePassword=x", nil, false, "cannot be used"},
		"srvMaxHosts":                   {"srvMaxHosts=1", nil, false, "cannot be used"},
		"srvServiceName":                {"srvServiceName=x", nil, false, "cannot be used"},
	}
	for _, o := range OptionTable() {
		c, found := cases[o.Name]
		if !found {
			t.Errorf("%s has no case", o.Name)
			continue
		}
		t.Run(o.Name, func(t *testing.T) {
			s, err := ForURI("mongodb://user:hunter2@127.0.0.1/keys?" + c.query)
			if c.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), c.refusal) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%v, want a refusal with %q", err, c.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !c.is(s) {
				t.Errorf("%s: it has come to something else: %+v", c.query, s.Options)
			}
			if s.noted(o.Name) != c.noted {
				t.Errorf("notes: %q", s.Notes)
			}
		})
	}
}

// TestUnencryptedRemoteServersAreNoted, and none that is on this machine.
func TestUnencryptedRemoteServersAreNoted(t *testing.T) {
	t.Parallel()
	for hosts, want := range map[string]bool{
		"db1/keys": true, "db1:27017/keys": true, "10.0.0.7/keys": true, "[2001:db8::1]:27017/keys": true, "127.0.0.1,db2/keys": true, "localhost.example/keys": true,
		"db1/keys?tls=true": false, "db1/keys?ssl=true": false, "db1/keys?tls=false": true,
		"localhost/keys": false, "127.0.0.2:27018/keys": false, "[::1]:27017/keys": false, "%2Ftmp%2Fmongodb-27017.sock/keys": false,
	} {
		s := settings(t, "mongodb://user:hunter2@"+hosts)
		if s.noted("without TLS") != want || s.noted("hunter2") {
			t.Errorf("%s: notes %q, want one: %v", hosts, s.Notes, want)
		}
	}
}

func ofPrimary(s *Settings) bool { return s.Options.ReadPreference.Mode() == readpref.PrimaryMode }

// TestUsualOptionsAreNotNoted: the string that Atlas shows, and values that are
// keytail's own.
func TestUsualOptionsAreNotNoted(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"mongodb://127.0.0.1/keys",
		"mongodb://127.0.0.1/keys?retryWrites=true&w=majority&appName=Cluster0",
		"mongodb://127.0.0.1/keys?RETRYREADS=true&readPreference=primary&readConcernLevel=majority&journal=true",
		"mongodb://127.0.0.1/keys?connectTimeoutMS=10000&serverSelectionTimeoutMS=30000&heartbeatFrequencyMS=500&maxPoolSize=24",
	} {
		if s := settings(t, uri); len(s.Notes) > 0 {
			t.Errorf("%s: %q", uri, s.Notes)
		}
	}
	if s := settings(t, "mongodb://127.0.0.1/keys?readPrefrence=hunter2"); !s.noted(`"readPrefrence"`) || s.noted("hunter2") {
		t.Errorf("a misspelt option: %q", s.Notes)
	}
}

func TestBoundsAreKept(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]time.Duration{
		"": 5 * time.Second, "?serverSelectionTimeoutMS=0": 5 * time.Second, "?serverSelectionTimeoutMS=999": 5 * time.Second,
		"?serverSelectionTimeoutMS=1000": time.Second, "?serverSelectionTimeoutMS=30000": 30 * time.Second, "?serverSelectionTimeoutMS=30001": 5 * time.Second,
	} {
		if got := *settings(t, "mongodb://127.0.0.1/"+query).Options.ServerSelectionTimeout; got != want {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
}

func TestReadsAreLimitedBelowThePoolSize(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]struct {
		reads int64
		noted bool
	}{
		"":                  {42, false},
		"?maxPoolSize=9":    {1, true},
		"?maxPoolSize=10":   {2, true},
		"?maxPoolSize=23":   {15, true},
		"?maxPoolSize=24":   {16, false},
		"?maxPoolSize=0":    {42, false},
		"?maxPoolSize=5000": {4992, false},
	} {
		s := settings(t, "mongodb://h/"+query)
		if s.MaxReads != want.reads || s.noted("maxPoolSize") != want.noted {
			t.Errorf("%s: %d reads, %q", query, s.MaxReads, s.Notes)
		}
	}
}

// TestSRVIsCheckedWithoutTheNetwork, as far as that is possible.
func TestSRVIsCheckedWithoutTheNetwork(t *testing.T) {
	t.Parallel()
	err := CheckURI("mongodb+srv://db.example.org/keys?timeoutMS=1&LoadBalanced=true&maxPoolSize=%32")
	if err == nil {
		t.Fatal("nothing is refused")
	}
	for _, words := range []string{"timeoutMS", "loadBalanced", "at least 9 connections"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in %v", words, err)
		}
	}
}

// TestTimesOutOfBoundsAreReplaced, on both sides, even where the driver would
// reject them.
func TestTimesOutOfBoundsAreReplaced(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]bounds{
		"connectTimeoutMS": connectTimeouts, "heartbeatFrequencyMS": heartbeatIntervals, "heartbeatIntervalMS": heartbeatIntervals,
		"serverSelectionTimeoutMS": selectionTimeouts,
	} {
		for _, value := range []time.Duration{0, b.min - time.Millisecond, b.min, b.max, b.max + time.Millisecond} {
			want := value
			if value < b.min || value > b.max {
				want = b.fallback
			}
			s, err := ForURI(fmt.Sprintf("mongodb://127.0.0.1/keys?%s=%d", name, value.Milliseconds()))
			if err != nil {
				t.Errorf("%s of %v: %v", name, value, err)
				continue
			}
			got := map[string]*time.Duration{
				"connectTimeoutMS": s.Options.ConnectTimeout, "serverSelectionTimeoutMS": s.Options.ServerSelectionTimeout,
				"heartbeatFrequencyMS": s.Options.HeartbeatInterval, "heartbeatIntervalMS": s.Options.HeartbeatInterval,
			}[name]
			if *got != want || (len(s.Notes) > 0) != (want != value) {
				t.Errorf("%s of %v has become %v, notes %q", name, value, *got, s.Notes)
			}
		}
	}
}
