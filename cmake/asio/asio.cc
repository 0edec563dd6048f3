// SPDX-License-Identifier: Apache-2.0
// Asio and Beast compiled once; everything that uses them links csb_asio.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
