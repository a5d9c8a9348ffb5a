package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Parser reads a command line, the environment and a file into a grammar: a
// struct with kong's tags, some of whose commands embed a Config.
//
// kong stops at the first mistake. The parser continues: it collects unknown
// flags and values of a wrong type, and uses the default for such a value, so
// that the caller can look for more mistakes before it reports all of them.
type Parser struct {
	kong *kong.Kong
	file file
	// wrong maps a flag to the mistake in its value on the command line or in the
	// environment.
	wrong map[*kong.Value]error
}

// NewParser prepares a grammar. The error is a mistake in the grammar's tags.
func NewParser(grammar any, options ...kong.Option) (*Parser, error) {
	p := &Parser{wrong: map[*kong.Value]error{}}
	options = append([]kong.Option{
		kong.DefaultEnvars(EnvPrefix),
		kong.Resolvers(&p.file),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(p.decode)),
		kong.KindMapper(reflect.Int, kong.MapperFunc(p.decode)),
		kong.KindMapper(reflect.Float64, kong.MapperFunc(p.decode)),
		kong.KindMapper(reflect.Bool, boolMapper{p}),
	}, options...)
	var err error
	p.kong, err = kong.New(grammar, options...)
	return p, err
}

// Parse reads args, the environment of the process, and the file that --config or
// KEYTAIL_CONFIG names. The context is nil if the command itself could not be
// read; the error joins all mistakes.
func (p *Parser) Parse(args []string) (*kong.Context, Given, error) {
	args, problems := p.dropUnknownFlags(args)
	if err := p.loadFile(args); err != nil {
		problems = append(problems, err)
	}
	clear(p.wrong)
	ctx, err := p.kong.Parse(args)
	if err != nil {
		problems = append(problems, errors.New(Redact(err.Error())))
		return nil, nil, errors.Join(problems...)
	}
	for _, flag := range allFlags(ctx) {
		if err := p.wrong[flag.Value]; err != nil {
			problems = append(problems, err)
		}
	}
	return ctx, given(ctx), errors.Join(problems...)
}

// Policies are those of the file that the last Parse read.
func (p *Parser) Policies() map[string]Policy { return p.file.policies }

// dropUnknownFlags removes flags that no command has, each with the value that
// follows it, and returns kong's errors about them.
func (p *Parser) dropUnknownFlags(args []string) (known []string, problems []error) {
	names, commands := p.flagsAndCommands()
	for i := 0; i < len(args); i++ {
		name, _, hasValue := strings.Cut(args[i], "=")
		if args[i] == "--" {
			return append(known, args[i:]...), problems
		}
		if !strings.HasPrefix(name, "--") || names[name] {
			known = append(known, args[i])
			continue
		}
		problems = append(problems, p.unknownFlag(name))
		if !hasValue && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") && !commands[args[i+1]] {
			i++
		}
	}
	return known, problems
}

// unknownFlag is kong's error, which suggests similar flags.
func (p *Parser) unknownFlag(name string) error {
	ctx, err := kong.Trace(p.kong, []string{name})
	if err == nil && ctx.Error != nil {
		err = ctx.Error
	}
	if err == nil {
		return fmt.Errorf("unknown flag %s", Redact(name))
	}
	return errors.New(Redact(err.Error()))
}

// flagsAndCommands is every flag, as --name, and every command.
func (p *Parser) flagsAndCommands() (flags, commands map[string]bool) {
	flags, commands = map[string]bool{}, map[string]bool{}
	_ = kong.Visit(p.kong.Model, func(node kong.Visitable, next kong.Next) error {
		switch node := node.(type) {
		case *kong.Flag:
			flags["--"+node.Name] = true
		case *kong.Node:
			commands[node.Name] = true
		}
		return next(nil)
	})
	return flags, commands
}

// loadFile reads the file of --config, if there is one, for kong's next Parse.
// Any command may name a file; its keys are always those of Config.
func (p *Parser) loadFile(args []string) error {
	p.file = file{}
	ctx, err := kong.Trace(p.kong, args)
	if err != nil || ctx.Error != nil {
		return nil // kong's Parse will report it
	}
	for _, flag := range allFlags(ctx) {
		if flag.Name != "config" {
			continue
		}
		path, _ := ctx.FlagValue(flag).(string)
		if path == "" {
			path = os.Getenv(EnvPrefix + "_CONFIG")
		}
		if path == "" {
			return nil
		}
		read, err := readFile(path, modelFlags())
		p.file = *read
		return err
	}
	return nil
}

// allFlags are the flags of the selected command.
func allFlags(ctx *kong.Context) []*kong.Flag {
	var flags []*kong.Flag
	for _, path := range ctx.Path {
		if path.App != nil || path.Command != nil {
			flags = append(flags, path.Flags...)
		}
	}
	return flags
}

func given(ctx *kong.Context) Given {
	g := Given{}
	for _, path := range ctx.Path {
		if path.Flag != nil {
			g[path.Flag.Name] = true
		}
	}
	for _, flag := range allFlags(ctx) {
		if isEnvSet(flag) {
			g[flag.Name] = true
		}
	}
	return g
}

// decode is a mapper for durations and numbers that collects mistakes.
func (p *Parser) decode(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("value", &text); err != nil {
		return err
	}
	p.set(ctx.Value, target, text)
	return nil
}

// boolMapper decodes flags that need no value.
type boolMapper struct{ p *Parser }

// IsBool makes kong expect no value.
func (boolMapper) IsBool() bool { return true }

// Decode takes "true" unless a value is joined with '=' or comes from elsewhere.
func (m boolMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	text := "true"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		text = ctx.Scan.Pop().String()
	}
	m.p.set(ctx.Value, target, text)
	return nil
}

// nameOf is the name of a flag in an error. Some flags have no environment
// variable.
func nameOf(value *kong.Value) string {
	if len(value.Tag.Envs) == 0 {
		return "--" + value.Name
	}
	return fmt.Sprintf("--%s (%s)", value.Name, strings.Join(value.Tag.Envs, ", "))
}

// set writes the value of text into target. If text is not valid, it records that
// and writes the default.
func (p *Parser) set(value *kong.Value, target reflect.Value, text string) {
	parsed, err := parse(target.Type(), text)
	if err != nil {
		p.wrong[value] = fmt.Errorf("%s %w", nameOf(value), err)
		parsed, err = parse(target.Type(), value.Default)
	}
	if err != nil {
		parsed = reflect.Zero(target.Type())
	}
	target.Set(parsed)
}

// check returns what is wrong with a text for a flag of type t, as the end of a
// sentence that begins with the flag's name.
func check(t reflect.Type, text string) error {
	_, err := parse(t, text)
	return err
}

// parse reads a text as a duration, a number, a bool, or a string.
func parse(t reflect.Type, text string) (reflect.Value, error) {
	value := reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			return value, fmt.Errorf("must be a duration with its unit, such as 500ms, 15s or 2m, not %s", quote(text))
		}
		value.SetInt(int64(d))
	case t.Kind() == reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return value, fmt.Errorf("must be a whole number, not %s", quote(text))
		}
		value.SetInt(int64(n))
	case t.Kind() == reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return value, fmt.Errorf("must be a number, such as 0.01, not %s", quote(text))
		}
		value.SetFloat(f)
	case t.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return value, fmt.Errorf("must be true or false, not %s", quote(text))
		}
		value.SetBool(b)
	default:
		value.SetString(text)
	}
	return value, nil
}

// quote shows a short and harmless form of a value: a secret may have been pasted
// into the wrong flag.
func quote(text string) string {
	const enough = 20
	if text == "" {
		return "nothing"
	}
	if len(text) > enough {
		return fmt.Sprintf("a text of %d bytes", len(text))
	}
	return strconv.Quote(text)
}
