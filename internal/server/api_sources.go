// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

type sourcesBody struct {
	Items []usage.SourceBody `json:"items"`
}

func (a *api) listSources(ctx context.Context, actor gate.Actor, _ *struct{}) (sourcesBody, error) {
	items, err := a.Sources.List(ctx, actor)
	return sourcesBody{usage.SourceBodiesOf(items)}, err
}

// A SourceInputBody is a new source. Its times are written as those of the list.
type SourceInputBody struct {
	Name        string   `json:"name" maxLength:"100" doc:"of its book"`
	Kind        string   `json:"kind" enum:"file,directory,http,otlp,syslog,driver"`
	Side        string   `json:"side" enum:"holder,relying" doc:"holder: the book of who has the key; relying: the log of who accepts it"`
	Format      string   `json:"format,omitempty" maxLength:"100" doc:"absent is recognised, or use records where a sender posts them"`
	Path        string   `json:"path,omitempty" maxLength:"4000" doc:"of a file or directory, absolute"`
	Once        bool     `json:"once,omitempty" doc:"read to its end and no further"`
	Settle      float64  `json:"settle,omitempty" minimum:"0" maximum:"1e9" doc:"seconds after its time that a record comes at the latest; absent: it has closing marks"`
	Silence     float64  `json:"silence,omitempty" minimum:"0" maximum:"1e9" doc:"seconds without a record after which it is called silent; absent is never"`
	KeepRaw     *float64 `json:"keep_raw,omitempty" minimum:"0" maximum:"1e9" doc:"seconds for which it is kept as it was received; absent is 30 days, 0 is not at all"`
	Certificate string   `json:"certificate,omitempty" maxLength:"200" doc:"SHA-256 of the client certificate that a sender of syslog shows"`

	Driver  string            `json:"driver,omitempty" maxLength:"100" doc:"of kind driver: who reads it"`
	Options map[string]string `json:"options,omitempty" doc:"of the driver, as \"tally drivers\" lists them; no value may be a secret. Those that lead to files, hosts and accounts must together be as in the configuration or in a source that is there"`
}

type addSourceInput struct {
	Body SourceInputBody
}

type newSourceBody struct {
	Token  string           `json:"token,omitempty" doc:"what its sender shows; it cannot be had again"`
	Source usage.SourceBody `json:"source"`
}

func (a *api) addSource(ctx context.Context, actor gate.Actor, in *addSourceInput) (newSourceBody, error) {
	b := in.Body
	one := store.Source{
		Name: b.Name, Kind: b.Kind, Side: tallystick.Side(b.Side), Format: b.Format, Path: b.Path, Once: b.Once,
		Settle: seconds(b.Settle), Silence: seconds(b.Silence), KeepRaw: sources.DefaultKeepRaw, Driver: b.Driver, Options: b.Options,
	}
	if b.KeepRaw != nil {
		one.KeepRaw = seconds(*b.KeepRaw)
	}
	token, added, err := a.Sources.Add(ctx, actor, one, b.Certificate)
	return newSourceBody{token, usage.SourceBodyOf(added)}, err
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

type sourceInput struct {
	Name string `path:"name"`
}

func (a *api) pauseSource(ctx context.Context, actor gate.Actor, in *sourceInput) (nothing, error) {
	return nothing{}, a.Sources.Pause(ctx, actor, in.Name)
}

func (a *api) resumeSource(ctx context.Context, actor gate.Actor, in *sourceInput) (nothing, error) {
	return nothing{}, a.Sources.Resume(ctx, actor, in.Name)
}

func (a *api) removeSource(ctx context.Context, actor gate.Actor, in *sourceInput) (nothing, error) {
	return nothing{}, a.Sources.Remove(ctx, actor, in.Name)
}

// describeIntake adds what intakeRoutes takes, which is no call: its bodies are
// larger than those of calls, and its senders are known by tokens of their own.
func (a *api) describeIntake() {
	spec := a.huma.OpenAPI()
	spec.Components.SecuritySchemes["source"] = &huma.SecurityScheme{Type: "http", Scheme: "bearer", Description: "The token of a source, which opens nothing else"}
	text := &huma.Schema{Type: huma.TypeString}
	body := func(types ...string) *huma.RequestBody {
		content := map[string]*huma.MediaType{}
		for _, t := range types {
			content[t] = &huma.MediaType{Schema: text}
		}
		return &huma.RequestBody{Required: true, Content: content, Description: "As it is, or with Content-Encoding gzip or zstd."}
	}
	answers := func(taken *huma.Response) map[string]*huma.Response {
		all := map[string]*huma.Response{"200": taken}
		for status, words := range map[int]string{
			http.StatusBadRequest: "It is not what its content encoding says.", http.StatusUnauthorized: "The token is unknown.", http.StatusForbidden: "The token is of another source.",
			http.StatusRequestEntityTooLarge: "Send less at a time.", http.StatusUnsupportedMediaType: "Use gzip, zstd or no content encoding.",
			http.StatusTooManyRequests: "Try again after the seconds of Retry-After.", http.StatusServiceUnavailable: "Try again after the seconds of Retry-After.",
		} {
			all[strconv.Itoa(status)] = &huma.Response{Description: words}
		}
		return all
	}
	received := spec.Components.Schemas.Schema(reflect.TypeFor[sources.Received](), true, "Received")
	of := []map[string][]string{{"source": {}}}
	spec.AddOperation(&huma.Operation{
		Method: http.MethodPost, Path: apiRoot + "/sources/{name}/uses", OperationID: "deliver-uses", Summary: "Deliver use records, one a line", Security: of,
		Description: "At most 64 MiB as sent and 512 MiB unpacked. After any status but 200 send all of it again: that changes nothing.",
		Parameters:  []*huma.Param{{Name: "name", In: "path", Required: true, Schema: text}},
		RequestBody: body("application/x-ndjson"),
		Responses: answers(&huma.Response{
			Description: "All of it is durable but what is called malformed.", Content: map[string]*huma.MediaType{"application/json": {Schema: received}},
		}),
	})
	spec.AddOperation(&huma.Operation{
		Method: http.MethodPost, Path: "/v1/logs", OperationID: "deliver-logs", Summary: "Deliver OpenTelemetry logs (OTLP over HTTP)", Security: of,
		Description: "ExportLogsServiceRequest as protobuf or JSON, at most 16 MiB unpacked; the token tells the source.",
		RequestBody: body("application/x-protobuf", "application/json"),
		Responses:   answers(&huma.Response{Description: "ExportLogsServiceResponse; malformed records are counted in its partial success."}),
	})
}
