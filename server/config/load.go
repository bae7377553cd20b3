package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const envPrefix = "SCIMBOX_"

// EnvConfig is the environment twin of --config.
const EnvConfig = envPrefix + "CONFIG"

// Options say where to look. The zero value reads nothing and yields the defaults.
type Options struct {
	File  string            // what --config says; "" takes EnvConfig, or no file
	Env   []string          // as os.Environ returns it
	Flags map[string]string // the flags that were given: key -> text, such as "listen" -> "127.0.0.1:9000"

	// Serving says that a server is to be started with it. Then the data directory is examined as well; a command that
	// talks to a running server needs no right to it.
	Serving bool
}

// Loaded is a configuration that can be, and where each of its values came from.
type Loaded struct {
	Config
	File    string // that was read, "" for none
	origins map[string]origin
}

// Value is one effective value, for people.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"` // "default", "scimbox.toml:3", "environment variable SCIMBOX_LISTEN", "--listen"
}

// origin is where a value came from; the zero value is the default in the code.
type origin struct {
	file      string
	line, col int
	source    string
}

func (o origin) String() string {
	switch {
	case o.file != "":
		return fmt.Sprintf("%s:%d", o.file, o.line)
	case o.source != "":
		return o.source
	}
	return "default"
}

// problem makes a Problem of something that came from o.
func (o origin) problem(key, format string, args ...any) Problem {
	return Problem{Key: key, File: o.file, Line: o.line, Column: o.col, Source: o.source, Text: fmt.Sprintf(format, args...)}
}

// key is one key of Config.
type key struct {
	path  string // "scim.strict"
	index []int  // of the field, for reflect
}

// env returns the name of the key's environment twin.
func (k key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// keys are all keys in the order of Config; tables are the names of its tables.
var keys, tables = describe()

func describe() (keys []key, tables []string) {
	var walk func(t reflect.Type, path string, index []int)
	walk = func(t reflect.Type, path string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			p, at := path+f.Tag.Get("toml"), append(slices.Clone(index), i)
			if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[Duration]() && f.Type != reflect.TypeFor[Size]() {
				tables = append(tables, p)
				walk(f.Type, p+".", at)
				continue
			}
			keys = append(keys, key{p, at})
		}
	}
	walk(reflect.TypeFor[Config](), "", nil)
	return keys, tables
}

func paths() []string {
	var l []string
	for _, k := range keys {
		l = append(l, k.path)
	}
	return l
}

func findKey(path string) (key, bool) {
	i := slices.IndexFunc(keys, func(k key) bool { return k.path == path })
	if i < 0 {
		return key{}, false
	}
	return keys[i], true
}

// loader gathers values and problems from all sources.
type loader struct {
	Loaded
	serving  bool
	problems Problems
}

// Load reads the configuration. If something is wrong with it the error is Problems, all that there are, and the
// configuration is not to be used. Nothing is created or changed.
func Load(o Options) (*Loaded, error) {
	l := &loader{Loaded: Loaded{Config: Default(), origins: map[string]origin{}}, serving: o.Serving}
	file, fileFrom := o.File, "--config"
	if file == "" {
		file, fileFrom = lookup(o.Env, EnvConfig), "environment variable "+EnvConfig
	}
	if file != "" {
		l.file(file, fileFrom)
	}
	l.environment(o.Env)
	for _, k := range keys { // in this order, so that messages do not change theirs
		if text, ok := o.Flags[k.path]; ok {
			l.set(k, text, origin{source: "--" + k.path})
		}
	}
	l.resolve(&l.Data, "data")
	l.resolve(&l.SCIM.Schemas, "scim.schemas")
	l.resolve(&l.Backup.Dir, "backup.dir")
	l.resolve(&l.TLS.Certificate, "tls.certificate")
	l.resolve(&l.TLS.Key, "tls.key")
	l.resolve(&l.TLS.ACME.Roots, "tls.acme.roots")
	l.byHostname()
	l.validate()
	if o.Serving {
		l.directory()
	}
	if len(l.problems) > 0 {
		l.problems.sort()
		return nil, l.problems
	}
	return &l.Loaded, nil
}

// Values returns the effective values in the order of Config. Of a Secret it says no more than whether there is one.
func (l *Loaded) Values() []Value {
	var list []Value
	for _, k := range keys {
		v := reflect.ValueOf(l.Config).FieldByIndex(k.index)
		list = append(list, Value{Key: k.path, Value: fmt.Sprint(v.Interface()), Source: l.Source(k.path)})
	}
	return list
}

// Source returns where the value of a key came from, in the words of Value.
func (l *Loaded) Source(key string) string { return l.origins[key].String() }

// Changed returns the keys whose values differ between two configurations, in the order of Config.
func Changed(a, b Config) []string {
	var l []string
	for _, k := range keys {
		x, y := reflect.ValueOf(a).FieldByIndex(k.index), reflect.ValueOf(b).FieldByIndex(k.index)
		if !reflect.DeepEqual(x.Interface(), y.Interface()) {
			l = append(l, k.path)
		}
	}
	return l
}

// set gives k the value that text stands for.
func (l *loader) set(k key, text string, from origin) {
	field := reflect.ValueOf(&l.Config).Elem().FieldByIndex(k.index)
	before := reflect.ValueOf(field.Interface())
	if err := assign(field, text); err != nil {
		field.Set(before) // or the rest would be judged by a value that nobody has chosen
		l.problems = append(l.problems, from.problem(k.path, "%s: %v", k.path, err))
		return
	}
	l.origins[k.path] = from
}

// assign sets v from its text form.
func assign(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *Duration:
		return p.UnmarshalText([]byte(text))
	case *Size:
		return p.UnmarshalText([]byte(text))
	case *List:
		*p = parseList(text)
	case *Times:
		return p.parse(text)
	case *Secret:
		*p = Secret(text)
	case *string:
		*p = text
	case *bool:
		b, err := strconv.ParseBool(strings.ToLower(text))
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*p = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		*p = n
	default:
		panic(fmt.Sprintf("config: no reading of %T", p))
	}
	return nil
}

// resolve makes a relative path of the file count from the file's directory: the commands of an operator then mean the
// same data directory as the server, wherever they are run.
func (l *loader) resolve(path *string, key string) {
	if from := l.origins[key]; from.file != "" && *path != "" && !filepath.IsAbs(*path) {
		*path = filepath.Join(filepath.Dir(from.file), *path)
	}
}

// kubernetes are the variables that it sets in every pod beside a service of the name scimbox; none of them is ours.
var kubernetes = regexp.MustCompile(`^SCIMBOX_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// environment reads the variables with our prefix. An empty variable counts as none, as compose files pass those that are
// not set. <NAME>_FILE names a file that holds the value, as container platforms hand over secrets.
func (l *loader) environment(env []string) {
	known := map[string]key{}
	names := []string{EnvConfig}
	for _, k := range keys {
		known[k.env()] = k
		names = append(names, k.env())
	}
	env = slices.Sorted(slices.Values(env))
	for _, entry := range env {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || text == "" || name == EnvConfig || kubernetes.MatchString(name) {
			continue
		}
		from := origin{source: "environment variable " + name}
		if k, ok := known[name]; ok {
			l.set(k, text, from)
			continue
		}
		direct, isFile := strings.CutSuffix(name, "_FILE")
		k, ok := known[direct]
		switch {
		case isFile && ok && lookup(env, direct) != "":
			l.problems = append(l.problems, from.problem(k.path, "%s is set as well; keep one of the two", direct))
		case isFile && ok:
			data, err := os.ReadFile(text)
			if err != nil {
				l.problems = append(l.problems, from.problem(k.path, "%s: the file with its value cannot be read: %v", k.path, err))
				continue
			}
			l.set(k, strings.TrimRight(string(data), "\r\n"), from)
		default:
			hint := ""
			if best := Nearest(name, names); best != "" {
				hint = "; did you mean " + best + "?"
			}
			l.problems = append(l.problems, from.problem("", "there is no such setting%s", hint))
		}
	}
}

// lookup returns the value of a variable, the last one if it is there several times, as os.Getenv does not.
func lookup(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if text, ok := strings.CutPrefix(entry, name+"="); ok {
			return text
		}
	}
	return ""
}

// cause takes the path off an error of package os, where the message names the path already.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
