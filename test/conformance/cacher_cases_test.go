// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
)

// cacherCase is one run of one function of the suite over a watch cache.
type cacherCase struct {
	suite   any    // the function of the suite; its name is the case's
	variant string // tells apart several runs of one function
	gates   gates
	server  serverNeeds
	options func(*testing.T) cacherOptions // nil: the usual cache
	run     func(*cacherEnv)
}

// overCache is the case of a function that needs a store and nothing else.
func overCache(suite func(context.Context, *testing.T, storage.Interface)) cacherCase {
	return cacherCase{suite: suite, run: func(e *cacherEnv) { suite(e.ctx, e.t, e) }}
}

// overSynchronousCache is the case of a function that takes for granted that what it created is in the cache.
func overSynchronousCache(suite func(context.Context, *testing.T, storage.Interface)) cacherCase {
	return cacherCase{suite: suite, run: func(e *cacherEnv) { suite(e.ctx, e.t, synchronousCreate{e}) }}
}

func indexed(*testing.T) cacherOptions { return cacherOptions{indexed: true} }

func clusterScoped(*testing.T) cacherOptions {
	return cacherOptions{indexed: true, clusterScoped: true}
}

func registryKeys(*testing.T) cacherOptions { return cacherOptions{prefix: registryPrefix} }

// cacherCases are all runs over the watch cache.
func cacherCases() []cacherCase {
	cases := cacherWriteCases()
	cases = append(cases, cacherCorruptObjectCases()...)
	cases = append(cases, cacherReadCases()...)
	return append(cases, cacherWatchCases()...)
}

func cacherWriteCases() []cacherCase {
	return []cacherCase{
		{suite: storagetesting.RunTestCreate, run: func(e *cacherEnv) {
			storagetesting.RunTestCreate(e.ctx, e.t, e, noStoredCheck)
		}},
		overCache(storagetesting.RunTestCreateWithTTL),
		overCache(storagetesting.RunTestCreateWithKeyExist),
		overCache(storagetesting.RunTestUnconditionalDelete),
		overCache(storagetesting.RunTestConditionalDelete),
		overCache(storagetesting.RunTestDeleteWithSuggestion),
		overCache(storagetesting.RunTestDeleteWithSuggestionAndConflict),
		overCache(storagetesting.RunTestDeleteWithSuggestionOfDeletedObject),
		overCache(storagetesting.RunTestValidateDeletionWithSuggestion),
		overCache(storagetesting.RunTestValidateDeletionWithOnlySuggestionValid),
		overCache(storagetesting.RunTestDeleteWithConflict),
		overCache(storagetesting.RunTestPreconditionalDeleteWithSuggestion),
		overCache(storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass),
		overCache(storagetesting.RunTestKeySchema),
		overCache(storagetesting.RunTestGuaranteedUpdateWithTTL),
		overCache(storagetesting.RunTestGuaranteedUpdateWithConflict),
		overCache(storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict),
	}
}

// cacherCorruptObjectCases are about objects that can no longer be read.
func cacherCorruptObjectCases() []cacherCase {
	codec := &failingCodec{Codec: podCodec()}
	transformer := &failingTransformer{Transformer: identity.NewEncryptCheckTransformer()}
	withTransformer := func(*testing.T) cacherOptions { return cacherOptions{transformer: transformer} }
	withCodec := func(t *testing.T) cacherOptions {
		// Where tests run, the store ends the process when it cannot decode; here that is what is tested.
		etcd3.TestOnlySetFatalOnDecodeError(t, false)
		return cacherOptions{codec: codec}
	}
	unsafeDeletion := gates{features.AllowUnsafeMalformedObjectDeletion: true}
	return []cacherCase{
		{suite: storagetesting.RunTestDeleteWithConflictAndMissingExpectedTransformOrDecodeError,
			gates: unsafeDeletion, options: withTransformer, run: func(e *cacherEnv) {
				storagetesting.RunTestDeleteWithConflictAndMissingExpectedTransformOrDecodeError(e.ctx, e.t, e, transformer.set)
			}},
		{suite: storagetesting.RunTestDeleteExpectedTransformOrDecodeError, variant: "transform",
			gates: unsafeDeletion, options: withTransformer, run: func(e *cacherEnv) {
				storagetesting.RunTestDeleteExpectedTransformOrDecodeError(e.ctx, e.t, e, transformer.set)
			}},
		{suite: storagetesting.RunTestDeleteExpectedTransformOrDecodeError, variant: "decode",
			gates: unsafeDeletion, options: withCodec, run: func(e *cacherEnv) {
				storagetesting.RunTestDeleteExpectedTransformOrDecodeError(e.ctx, e.t, e, codec.set)
			}},
		{suite: storagetesting.RunTestDeleteWithSuggestionAndMissingExpectedTransformOrDecodeError,
			gates: unsafeDeletion, run: func(e *cacherEnv) {
				storagetesting.RunTestDeleteWithSuggestionAndMissingExpectedTransformOrDecodeError(e.ctx, e.t, e)
			}},
	}
}

func cacherReadCases() []cacherCase {
	cases := []cacherCase{
		overCache(storagetesting.RunTestGet),
		overCache(storagetesting.RunTestListPaging),
		overCache(storagetesting.RunTestGetListRecursivePrefix),
		{suite: storagetesting.RunTestCompactRevision, gates: gates{features.ListFromCacheSnapshot: true}, run: func(e *cacherEnv) {
			storagetesting.RunTestCompactRevision(e.ctx, e.t, e, increaseRevision(e.client), e.compact)
		}},
		{suite: storagetesting.RunTestListContinuation, run: func(e *cacherEnv) {
			storagetesting.RunTestListContinuation(e.ctx, e.t, e, noCallsCheck)
		}},
		{suite: storagetesting.RunTestListPaginationRareObject, run: func(e *cacherEnv) {
			storagetesting.RunTestListPaginationRareObject(e.ctx, e.t, e, noCallsCheck)
		}},
		{suite: storagetesting.RunTestListContinuationWithFilter, run: func(e *cacherEnv) {
			storagetesting.RunTestListContinuationWithFilter(e.ctx, e.t, e, noCallsCheck)
		}},
		{suite: storagetesting.RunTestNamespaceScopedList, options: indexed, run: func(e *cacherEnv) {
			storagetesting.RunTestNamespaceScopedList(e.ctx, e.t, e)
		}},
	}
	for _, snapshots := range []bool{true, false} {
		cases = append(cases, cacherListCases(snapshots)...)
	}
	for _, sized := range []bool{true, false} {
		cases = append(cases, cacherCase{suite: storagetesting.RunTestStats, variant: fmt.Sprintf("sized=%v", sized),
			gates: gates{features.SizeBasedListCostEstimate: sized}, run: func(e *cacherEnv) {
				storagetesting.RunTestStats(e.ctx, e.t, e, e.codec, identity.NewEncryptCheckTransformer(), sized)
			}})
	}
	return cases
}

// cacherListCases are the lists that the cache may answer from snapshots of itself.
func cacherListCases(snapshots bool) []cacherCase {
	variant := fmt.Sprintf("snapshots=%v", snapshots)
	gate := gates{features.ListFromCacheSnapshot: snapshots}
	return []cacherCase{
		{suite: storagetesting.RunTestList, variant: variant, gates: gate, server: ownServer, options: registryKeys, run: func(e *cacherEnv) {
			storagetesting.RunTestList(e.ctx, e.t, e, e.compact, true, listRecorder(e.client))
		}},
		{suite: storagetesting.RunTestConsistentList, variant: variant, gates: gate, run: func(e *cacherEnv) {
			storagetesting.RunTestConsistentList(e.ctx, e.t, e, increaseRevision(e.client), true, true, snapshots)
		}},
		{suite: storagetesting.RunTestGetListNonRecursive, variant: variant, gates: gate, run: func(e *cacherEnv) {
			storagetesting.RunTestGetListNonRecursive(e.ctx, e.t, increaseRevision(e.client), e)
		}},
	}
}

func cacherWatchCases() []cacherCase {
	// It watches from revision 1, which a shared server has compacted.
	semantics := overSynchronousCache(storagetesting.RunWatchSemantics)
	semantics.server = ownServer
	return []cacherCase{
		overCache(storagetesting.RunTestWatch),
		{suite: storagetesting.RunTestWatchFromZero, run: func(e *cacherEnv) {
			storagetesting.RunTestWatchFromZero(e.ctx, e.t, e, e.compactAndRestart)
		}},
		overCache(storagetesting.RunTestDeleteTriggerWatch),
		overCache(storagetesting.RunTestWatchFromNonZero),
		overCache(storagetesting.RunTestDelayedWatchDelivery),
		overCache(storagetesting.RunTestWatchContextCancel),
		overCache(storagetesting.RunTestWatcherTimeout),
		overCache(storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV),
		overCache(storagetesting.RunTestWatchInitializationSignal),
		{suite: storagetesting.RunTestClusterScopedWatch, options: clusterScoped, run: func(e *cacherEnv) {
			storagetesting.RunTestClusterScopedWatch(e.ctx, e.t, e)
		}},
		{suite: storagetesting.RunTestNamespaceScopedWatch, options: indexed, run: func(e *cacherEnv) {
			storagetesting.RunTestNamespaceScopedWatch(e.ctx, e.t, e)
		}},
		{suite: storagetesting.RunTestWatchDispatchBookmarkEvents, run: func(e *cacherEnv) {
			storagetesting.RunTestWatchDispatchBookmarkEvents(e.ctx, e.t, e, true)
		}},
		overCache(storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion),
		overCache(storagetesting.RunSendInitialEventsBackwardCompatibility),
		semantics,
		overSynchronousCache(storagetesting.RunWatchSemanticInitialEventsExtended),
		overSynchronousCache(storagetesting.RunWatchListMatchSingle),
	}
}
