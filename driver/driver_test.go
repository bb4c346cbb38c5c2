// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

type options struct {
	Name    string        `option:"name" default:"here" help:"a word"`
	Wait    time.Duration `option:"wait" default:"5s" help:"how long"`
	Count   int64         `option:"count" help:"how many"`
	Deep    bool          `option:"deep" help:"whether"`
	List    []string      `option:"list" default:"a,b" help:"several"`
	Opening driver.Secret `option:"opening" help:"what opens it"`
	Tenant  string        `option:"tenant" free:"true" help:"whose"`
}

type finder struct{ options options }

func (f *finder) Find(context.Context, driver.FindRequest, driver.Sink) error { return nil }

var test = driver.New("test", "a driver", func(o options) (*finder, error) { return &finder{o}, nil })

func TestOptionsAreReadFromTheStruct(t *testing.T) {
	if d := cmp.Diff([]string{"find"}, test.Verbs()); d != "" {
		t.Errorf("verbs:\n%s", d)
	}
	opened, err := test.Open(map[string]string{"wait": "2m", "deep": "true", "count": "7", "opening": "sesame"})
	if err != nil {
		t.Fatal(err)
	}
	got := opened.(*finder).options
	want := options{Name: "here", Wait: 2 * time.Minute, Count: 7, Deep: true, List: []string{"a", "b"}}
	if got.Opening.Reveal() != "sesame" || got.Name != want.Name || got.Wait != want.Wait || got.Count != want.Count || !got.Deep || len(got.List) != 2 {
		t.Errorf("opened with %+v, want %+v", got, want)
	}
}

func TestWhatIsFreeIsSaidOrIsNoText(t *testing.T) {
	got := map[string]bool{}
	for _, o := range test.Options() {
		got[o.Name] = o.Free
	}
	want := map[string]bool{"name": false, "wait": true, "count": true, "deep": true, "list": false, "opening": false, "tenant": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSenselessOptions(t *testing.T) {
	for _, values := range []map[string]string{{"wait": "long"}, {"count": "many"}, {"deep": "perhaps"}, {"nmae": "x"}} {
		if _, err := test.Open(values); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", values, err)
		}
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	s := driver.NewSecret("sesame")
	text, err := json.Marshal(map[string]any{"secret": s, "in": options{Opening: s}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("opening", "with", s, "options", options{Opening: s})
	for _, printed := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", options{Opening: s}, &options{Opening: s}, options{Opening: s}), string(text), log.String(), fmt.Sprint(fmt.Errorf("with %v", s)),
	} {
		if strings.Contains(printed, "sesame") || strings.Contains(printed, "736573616d65") {
			t.Errorf("a secret is printed: %s", printed)
		}
	}
}
