// Filled in by the status page.
'use strict';
