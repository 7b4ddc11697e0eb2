// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "failure.h"

#include <functional>

// Runs the action with this thread in that network namespace and comes back. Synchronous, so that nothing
// else of this thread sees the change.
Outcome InNetns(int netns, const std::function<Outcome()> &action);
