// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tallystick/tallystick"
)

// checkHeader refuses requests without the header that a browser or a proxy which was
// talked into connecting would not send (SPIFFE Workload Endpoint, section 5).
func checkHeader(ctx context.Context) error {
	values := metadata.ValueFromIncomingContext(ctx, "workload.spiffe.io")
	if len(values) != 1 || values[0] != "true" {
		return status.Error(codes.InvalidArgument, "the header workload.spiffe.io must be true")
	}
	return nil
}

func checkUnary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := checkHeader(ctx); err != nil {
		return nil, err
	}
	return next(ctx, request)
}

func checkStream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := checkHeader(stream.Context()); err != nil {
		return err
	}
	return next(server, stream)
}

// FetchX509SVID sends the identities of the caller, and again whenever one is replaced or
// what to trust changes.
func (s *Server) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	ctx := stream.Context()
	list, c, err := s.who(ctx)
	if err != nil {
		return s.status(err)
	}
	held := make([]svid, len(list))
	var sent []byte  // the bundle that was sent
	changed := false // whether held has what was not sent
	return s.follow(ctx, func() error {
		for i, w := range list {
			if held[i].serial != "" {
				stale, err := s.stale(ctx, held[i])
				if err != nil {
					return err
				}
				if !stale {
					continue
				}
			}
			next, err := s.issue(ctx, w, c, held[i].serial)
			if err != nil {
				return err
			}
			held[i], changed = next, true
		}
		bundle, err := s.bundle(ctx)
		if err != nil {
			return err
		}
		if !changed && bytes.Equal(bundle, sent) {
			return nil
		}
		sent, changed = bundle, false
		return stream.Send(response(held, bundle))
	}, func() bool { return len(sent) > 0 && s.allValid(held) })
}

// allValid says whether what a stream has sent is still good: then an error in
// replacing it can wait.
func (s *Server) allValid(held []svid) bool {
	for _, v := range held {
		if v.serial == "" || !s.Now().Before(v.expires) {
			return false
		}
	}
	return true
}

func response(held []svid, bundle []byte) *workload.X509SVIDResponse {
	r := &workload.X509SVIDResponse{}
	for _, v := range held {
		r.Svids = append(r.Svids, &workload.X509SVID{SpiffeId: v.id.String(), X509Svid: v.chain, X509SvidKey: v.key, Bundle: bundle})
	}
	return r
}

// FetchX509Bundles sends what to trust, and again whenever it changes.
func (s *Server) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	ctx := stream.Context()
	list, _, err := s.who(ctx)
	if err != nil {
		return s.status(err)
	}
	var sent []byte
	return s.follow(ctx, func() error {
		bundle, err := s.bundle(ctx)
		if err != nil || bytes.Equal(bundle, sent) {
			return err
		}
		sent = bundle
		bundles := map[string][]byte{}
		for _, w := range list {
			bundles[w.ID.TrustDomain().IDString()] = bundle
		}
		return stream.Send(&workload.X509BundlesResponse{Bundles: bundles})
	}, func() bool { return len(sent) > 0 })
}

// who returns what the sender of a request is.
func (s *Server) who(ctx context.Context) ([]Workload, *caller, error) {
	c, ok := callerOf(ctx)
	if !ok {
		return nil, nil, tallystick.ErrDenied
	}
	list, err := s.entitled(ctx, c)
	return list, c, err
}

// follow calls step now and then until the stream ends. An error ends it, unless canWait
// says that what was sent is still of use: then it is tried again, because a client that
// is cut off has nothing better.
func (s *Server) follow(ctx context.Context, step func() error, canWait func() bool) error {
	tick := time.NewTicker(s.Look)
	defer tick.Stop()
	for {
		if err := step(); err != nil {
			if ctx.Err() != nil || !canWait() {
				return s.status(err)
			}
			s.failed(err)
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-tick.C:
		}
	}
}

func (s *Server) failed(err error) {
	if s.Failed != nil {
		s.Failed(err)
	}
}

// status returns an error as the API has it (SPIFFE Workload API, section 5.4): without a word
// on who else there is.
func (s *Server) status(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	switch {
	case errors.Is(err, tallystick.ErrDenied), errors.Is(err, tallystick.ErrUnsigned):
		return status.Error(codes.PermissionDenied, "no identity issued")
	case errors.Is(err, tallystick.ErrBusy):
		return status.Error(codes.ResourceExhausted, "too many identities within a minute")
	case errors.Is(err, tallystick.ErrUnavailable):
		s.failed(err)
		return status.Error(codes.Unavailable, "the key of the CA cannot be reached now")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	s.failed(err)
	return status.Error(codes.Internal, "no identity could be made; the log of Tallystick says why")
}
