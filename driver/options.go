// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// An Option is one setting of a driver, read from a field of its options
// struct:
//
//	Timeout time.Duration `option:"timeout" default:"10s" help:"how long to wait for one endpoint"`
//
// Who may set it from elsewhere is said by the tag free (see Option.Free).
//
// Fields are of type string, bool, int, int64, time.Duration, []string (commas
// between the values) or Secret.
type Option struct {
	Name    string
	Help    string
	Default string
	Secret  bool
	// Free says that the value names no file, no host and nobody who signs in, so that
	// whoever administers Tallystick from elsewhere may choose it: the tag free, and all
	// that is no text. What lacks the tag is only taken from whoever has the machine.
	Free  bool
	field int
}

// optionsOf reads the tags of C.
func optionsOf[C any]() ([]Option, error) {
	t := reflect.TypeFor[C]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("options are a %s, not a struct", t.Kind())
	}
	var options []Option
	for i := range t.NumField() {
		field := t.Field(i)
		name, help := field.Tag.Get("option"), field.Tag.Get("help")
		if name == "" || help == "" || !field.IsExported() {
			return nil, fmt.Errorf("field %s lacks an option or help tag, or is not exported", field.Name)
		}
		free := field.Tag.Get("free") == "true"
		switch field.Type.Kind() {
		case reflect.Bool, reflect.Int, reflect.Int64:
			free = true
		}
		options = append(options, Option{
			Name: name, Help: help, Default: field.Tag.Get("default"),
			Secret: field.Type == reflect.TypeFor[Secret](), Free: free, field: i,
		})
	}
	_, err := decode[C](options, nil)
	return options, err
}

// decode sets the fields of a new C from the defaults and then from values.
func decode[C any](options []Option, values map[string]string) (C, error) {
	var config C
	v := reflect.ValueOf(&config).Elem()
	known := make([]string, 0, len(options))
	for _, o := range options {
		known = append(known, o.Name)
		text, ok := values[o.Name]
		if !ok {
			text = o.Default
		}
		if text == "" {
			continue
		}
		if err := setField(v.Field(o.field), text); err != nil {
			return config, fmt.Errorf("option %s: %w: %w", o.Name, tallystick.ErrInvalid, err)
		}
	}
	for name := range values {
		if !slices.Contains(known, name) {
			return config, fmt.Errorf("%w: unknown option %q: it is one of %s",
				tallystick.ErrInvalid, name, strings.Join(known, ", "))
		}
	}
	return config, nil
}

// setField parses text into one field. Its errors never quote the text of a secret.
func setField(field reflect.Value, text string) error {
	switch field.Interface().(type) {
	case Secret:
		field.Set(reflect.ValueOf(NewSecret(text)))
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 30s or 5m", text)
		}
		field.SetInt(int64(d))
	case string:
		field.SetString(text)
	case []string:
		field.Set(reflect.ValueOf(strings.Split(text, ",")))
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		field.SetBool(b)
	case int, int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		field.SetInt(n)
	default:
		return fmt.Errorf("options of type %s are not supported", field.Type())
	}
	return nil
}
