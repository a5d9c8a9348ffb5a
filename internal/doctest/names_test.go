package doctest

import (
	"bytes"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/keytail/keytail/internal/cli"
)

// foreignFlags are those of other programs that documents and comments mention.
var foreignFlags = map[string]bool{
	"--build": true, "--detach": true, "--profile": true, "--rm": true, "--volumes": true, // docker compose
	"--time": true, "--mount": true, // docker
	"--variant": true, // debootstrap
	"--help":    true,
	"--uri":     true, "--jsonArray": true, "--file": true, // mongoimport
	"--quick": true, "--for": true, "--rate": true, "--keys": true, "--seed": true, "--samples": true, "--save": true, "--binary": true, "--peers": true, "--server": true, "--only": true, "--rounds": true, "--fault-command": true, "--heal-command": true, // bench, which tests its own
	"--standalone": true, "--auth": true, // secantusd-py
	"--meta": true, "--output-path": true, // openapi-python-client
	"--skip-jwt-bearer-tokens": true, "--oidc-public-key-file": true, "--request-logging": true, "--auth-logging": true, "--standard-logging": true, // oauth2-proxy
	"--redact":  true,                                            // gitleaks
	"--replSet": true, "--setParameter": true, "--keyFile": true, // mongod
	"--from-file": true, "--filename": true, "--values": true, // kubectl, helm
	"--create": true, "--now": true, // systemd
	"--bundle": true, "--certificate-identity": true, "--certificate-oidc-issuer": true, // cosign
	"--repo": true, "--branch": true, // gh, git
	"--check": true, "--strict": true, "--ignore-missing": true, // sha256sum
	"--map-id-form": true, // an earlier keytail (CHANGELOG.md)
}

var (
	flagName    = regexp.MustCompile(`(?:^|[\s"'(=/\x60])(--[a-z][a-zA-Z0-9-]*[a-zA-Z0-9])`)
	helpFlag    = regexp.MustCompile(`--[a-z][a-z0-9-]*`)
	helpEnv     = regexp.MustCompile(`KEYTAIL_[A-Z0-9_]+`)
	helpCommand = regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)?)(?:  .*)?$`)
	envName     = regexp.MustCompile(`\bKEYTAIL_[A-Z0-9_]*[A-Z0-9]\b`)
)

// help is what the binary's --help prints for all of its commands.
var help = sync.OnceValue(func() string {
	ask := func(args ...string) string {
		var out, wrong bytes.Buffer
		cli.Main(append(args, "--help"), &out, &wrong, cli.Deps{})
		return out.String() + wrong.String()
	}
	text := ask()
	_, commands, _ := strings.Cut(text, "\nCommands:\n")
	all := text
	for _, m := range helpCommand.FindAllStringSubmatch(commands, -1) {
		all += ask(strings.Fields(m[1])...)
	}
	return all
})

// TestFlagsExist: each flag that a document, or a comment of the code, names is one
// of the binary's, or one of another program that is listed above.
func TestFlagsExist(t *testing.T) {
	all, r, known := mustLoadTree(t), &report{t}, map[string]bool{}
	for _, name := range helpFlag.FindAllString(help(), -1) {
		known[name] = true
	}
	if len(known) < 60 {
		t.Fatalf("the binary has only the flags %v", known)
	}
	check := func(file string, line int, text string) {
		for _, m := range flagName.FindAllStringSubmatch(text, -1) {
			if name := m[1]; !known[name] && !foreignFlags[name] && !isPrefix(name, known) {
				r.fail(file, line, "flag", name)
			}
		}
	}
	for _, name := range all.files(".md") {
		for i, text := range strings.Split(all.text[name], "\n") {
			check(name, i+1, text)
		}
	}
	for _, name := range all.files(".go") {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, all.text[name], parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range file.Comments {
			check(name, files.Position(group.Pos()).Line, group.Text())
		}
	}
}

// isPrefix reports whether a name matches a group of flags, such as --map or
// --grpc-tls.
func isPrefix(name string, known map[string]bool) bool {
	for flag := range known {
		if strings.HasPrefix(flag, name+"-") {
			return true
		}
	}
	return false
}

// TestEnvironmentVariablesExist: those that documents name are read somewhere.
func TestEnvironmentVariablesExist(t *testing.T) {
	all, r := mustLoadTree(t), &report{t}
	known := map[string]bool{}
	for _, name := range helpEnv.FindAllString(help(), -1) {
		known[name] = true
	}
	for name, text := range all.text {
		if !strings.HasSuffix(name, ".md") {
			for _, variable := range envName.FindAllString(text, -1) {
				known[variable] = true
			}
		}
	}
	for _, name := range all.files(".md") {
		for i, text := range strings.Split(all.text[name], "\n") {
			for _, variable := range envName.FindAllString(text, -1) {
				if !known[variable] {
					r.fail(name, i+1, "environment variable", variable)
				}
			}
		}
	}
}

var (
	codeLiteral = regexp.MustCompile(`"([A-Z]{3,}(?:_[A-Z]+)+|MISSING|MALFORMED|DISABLED|EXPIRED|FORBIDDEN|VALID|UNAVAILABLE|UNAUTHENTICATED)"`)
	wirePackage = regexp.MustCompile(`^(api|auth|client|internal/(apikey|forwardauth|routes|extauthz|managedkey|keyadmin))/[^/]*\.go$`)
)

// TestCodesAreDocumented: docs/http.md has every code that the wire can carry.
func TestCodesAreDocumented(t *testing.T) {
	all, found := mustLoadTree(t), map[string]bool{}
	for _, name := range all.files(".go") {
		if strings.HasSuffix(name, "_test.go") || !wirePackage.MatchString(name) {
			continue
		}
		for _, m := range codeLiteral.FindAllStringSubmatch(all.text[name], -1) {
			found[m[1]] = true
			if !strings.Contains(all.text["docs/http.md"], "| `"+m[1]+"` |") {
				t.Errorf("docs/http.md has no row for the code %s of %s", m[1], name)
			}
		}
	}
	if len(found) < 20 {
		t.Errorf("only the codes %v were found", found)
	}
}
